"""Release bundles: immutable folders that hold one model and everything said about it.

Invariant: a bundle is complete or absent. It is written under a temporary name, synced, and renamed; after that no
file changes, and every load proves it by the hashes in the manifest. Nothing in a bundle is executable or pickled.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from fraud_core.errors import BundleError
from fraud_core.release.golden import Golden
from fraud_core.release.manifest import Manifest

MANIFEST = "manifest.json"
MODEL_UBJ = "model.ubj"
MODEL_ONNX = "model.onnx"
GOLDEN = "golden.json"
TREES = "trees.npz"
REQUIRED = (MODEL_UBJ, MODEL_ONNX, GOLDEN)

_RESTORE = (
    "Restore the folder from its origin, or make another version live with `spearhead release rollback`."
)


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose manifest was read (and, by `load_bundle`, whose files were proved)."""

    path: Path
    manifest: Manifest

    @property
    def version(self) -> str:
        """The model version, which is also the folder's name."""
        return self.manifest.model_version

    def file(self, name: str) -> Path:
        """Path of one file of the bundle. Raises BundleError when the bundle has none of that name."""
        if name not in self.manifest.files:
            raise BundleError(
                f"Bundle {self.version} should hold {name}, and lists {', '.join(self.manifest.files)}. "
                "Train and release again with this version of Spearhead."
            )
        return self.path / name

    def read(self, name: str) -> bytes:
        """Bytes of one file, proved against the manifest at this very read. Raises BundleError."""
        path = self.file(name)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BundleError(
                f"Bundle {self.version}: {name} should be readable at {path}: {error.strerror}. {_RESTORE}"
            ) from error
        found = hashlib.sha256(content).hexdigest()
        if found != self.manifest.files[name]:
            raise BundleError(
                f"Bundle {self.version}: {name} was altered after its release: sha256 {self.manifest.files[name][:12]}… "
                f"expected, {found[:12]}… found. {_RESTORE}"
            )
        return content

    def golden(self) -> Golden:
        """The golden rows."""
        golden = Golden.from_json(self.read(self.manifest.golden))
        if golden.vectors.shape[1] != len(self.manifest.features):
            raise BundleError(
                f"Bundle {self.version}: golden rows should have {len(self.manifest.features)} values, and have "
                f"{golden.vectors.shape[1]}. {_RESTORE}"
            )
        return golden


def write_bundle(bundles: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Write a new bundle under `bundles` and return it, proved.

    `manifest` comes without version, digest and file hashes; they follow from the content. Writing the same content
    twice gives the same version and changes nothing. Raises BundleError when a required file is missing or the
    folder cannot be written.
    """
    missing = [name for name in REQUIRED if not files.get(name)]
    if missing or MANIFEST in files:
        raise BundleError(
            f"A bundle needs {', '.join(REQUIRED)} and writes its own manifest; missing or empty: {missing or 'none'}. "
            "Export the model again."
        )
    sealed = manifest.sealed({name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    final = bundles / sealed.model_version
    try:
        bundles.mkdir(parents=True, exist_ok=True)
        if not final.exists():
            _write_folder(bundles, final, {**files, MANIFEST: sealed.to_json()})
    except OSError as error:
        raise BundleError(
            f"The bundle {sealed.model_version} should be written to {bundles}: {error.strerror}. Free space or give "
            "this user access, then release again; nothing half-written is left behind."
        ) from error
    return load_bundle(final)


def load_bundle(path: Path) -> Bundle:
    """Open a bundle and prove every file of it against the manifest.

    Raises BundleError naming the file that is missing, altered or unlisted, and what to do.
    """
    manifest = read_manifest(path)
    bundle = Bundle(path, manifest)
    for name in REQUIRED:
        bundle.file(name)
    for name in manifest.files:
        bundle.read(name)
    # Names with a dot in front belong to the file system (NFS keeps deleted files as .nfs…).
    unlisted = sorted(
        entry.name
        for entry in path.iterdir()
        if entry.name not in manifest.files and entry.name != MANIFEST and not entry.name.startswith(".")
    )
    if unlisted:
        raise BundleError(
            f"Bundle {bundle.version}: {unlisted[0]} is in the folder but not in the manifest, so somebody put it there "
            f"after the release. Move it away from {path}."
        )
    return bundle


def read_manifest(path: Path) -> Manifest:
    """Read and prove a bundle's manifest alone. Raises BundleError."""
    try:
        content = (path / MANIFEST).read_bytes()
    except OSError as error:
        raise BundleError(
            f"A release bundle is expected at {path}; its {MANIFEST} cannot be read: {error.strerror}. "
            "List what is there with `spearhead release list`."
        ) from error
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the file"
        raise BundleError(f"{path / MANIFEST}: {where}: {problem['msg']}. {_RESTORE}") from None
    digest = manifest.computed_digest()
    if digest != manifest.digest or not manifest.model_version.endswith(digest[:8]):
        raise BundleError(
            f"{path / MANIFEST} was altered after its release: its digest should be {manifest.digest[:12]}…, and is "
            f"{digest[:12]}…. {_RESTORE}"
        )
    if manifest.model_version != path.name:
        raise BundleError(
            f"The folder {path} should be named {manifest.model_version}, as its manifest says. Rename it back."
        )
    return manifest


def list_bundles(bundles: Path) -> tuple[str, ...]:
    """Versions of the complete bundles under a folder, oldest first; half-written ones are not seen."""
    if not bundles.is_dir():
        return ()
    return tuple(sorted(path.name for path in bundles.glob("m-*") if (path / MANIFEST).is_file()))


def _write_folder(bundles: Path, final: Path, files: Mapping[str, bytes]) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=bundles))
    try:
        for name, content in files.items():
            with (temporary / name).open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            (temporary / name).chmod(0o444)
        temporary.chmod(0o755)
        sync_folder(temporary)
        try:
            temporary.rename(final)
        except OSError:
            # Another writer of the same content was first; load_bundle proves that it is the same.
            if not final.exists():
                raise
        sync_folder(bundles)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Make a rename or a new file in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
