"""One tree of errors. Every message says what was expected, what was found, and what to do.

SpearheadError
├── SettingsError         a setting is missing, malformed or contradicts another
├── ContractError         a data contract is missing, broken or changed incompatibly
├── FeatureError          a feature declaration is wrong, or cannot be met by the contract
│   └── StartRefused      … or a kept state cannot be gone on from: fold from the events
├── DataFileError         a file given by a user cannot be read as events
├── LogError              the event log cannot be used
│   ├── LogUnavailable    … because it cannot be reached: try again later
│   └── LostRange         … because entries were removed before they were read: data is lost
├── LakeError             a Delta table or the store beneath it cannot be used
│   ├── UnsafeStore       … because the store ignores conditional writes or is not mounted
│   └── CommitRefused     … because another writer was first: read again
├── TrainingError         a model cannot be trained or exported from the data there is
├── BundleError           a release bundle is missing, incomplete or altered
├── AliasConflict         an alias changed since it was read
├── StateError            the online feature state cannot be used
│   └── StateLost         … because Redis holds none (any more): rebuild it
├── ServingError          the scoring service or a model backend cannot be used
└── PlatformError         a process of the local platform cannot be started or stopped
    └── PortInUse         … because another process holds its port
"""


class SpearheadError(Exception):
    """Base of all errors that are meant for people: shown as one message, without a traceback."""


class SettingsError(SpearheadError):
    """A setting is missing, malformed or contradicts another."""


class ContractError(SpearheadError):
    """A data contract is missing, broken or changed incompatibly."""


class FeatureError(SpearheadError):
    """A feature declaration is wrong, or asks for what the contract does not hold."""


class StartRefused(FeatureError):
    """A kept state is no longer what the events leave; the caller folds from the events themselves."""


class DataFileError(SpearheadError):
    """A file given by a user cannot be read as events."""


class LogError(SpearheadError):
    """The event log cannot be used."""


class LogUnavailable(LogError):
    """The event log cannot be reached; nothing is lost, the same call may succeed later."""


class LostRange(LogError):
    """Entries were removed from the log before every reader had read them."""


class LakeError(SpearheadError):
    """A Delta table or the store beneath it cannot be used."""


class UnsafeStore(LakeError):
    """The store ignores conditional writes, or is not the mounted volume it should be."""


class CommitRefused(LakeError):
    """Another writer committed first; the caller reads again and plans anew."""


class TrainingError(SpearheadError):
    """A model cannot be trained, exported or judged with the data and machine there are."""


class BundleError(SpearheadError):
    """A release bundle is missing, incomplete or altered."""


class AliasConflict(SpearheadError):
    """An alias changed since it was read; read again and decide anew."""


class StateError(SpearheadError):
    """The online feature state is missing, of another version, or cannot be reached."""


class StateLost(StateError):
    """There is no online state: it was never built, was wiped, or was withdrawn because it lacks acknowledged updates."""


class ServingError(SpearheadError):
    """The scoring service or one of its model backends cannot be used."""


class PlatformError(SpearheadError):
    """A process of the local platform cannot be started, watched or stopped."""


class PortInUse(PlatformError):
    """A port that a service needs is held by another process."""
