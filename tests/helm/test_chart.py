"""The chart renders, is valid Kubernetes, and hands Dagster runs what dagster-k8s accepts. All offline."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml
from pydantic import SecretStr

from fraud_core.settings import Settings

CHART = Path(__file__).resolve().parents[2] / "helm" / "spearhead"
KUBERNETES_VERSIONS = ("1.30", "1.33")

VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything": {
        "image": {"pullSecrets": [{"name": "pull"}], "tag": "1.2.3"},
        "contracts": {"configMap": "own-contracts"},
        "redis": {"tls": {"existingSecret": "redis-tls"}},
        "kafka": {
            "existingSecret": "kafka",
            "tls": {"existingSecret": "kafka-tls", "clientCertificate": True, "keyPassword": True},
        },
        "lake": {
            "uri": "s3://lake/spearhead",
            "quarantineKeySecret": "quarantine",
            "s3": {"endpoint": "https://flashblade.example", "existingSecret": "s3"},
        },
        "storage": {"existingClaim": "flashblade"},
        "settings": {"deadline_ms": 200, "namespace": "prod"},
        "serving": {"autoscaling": {"enabled": False}, "podAnnotations": {"team": "fraud"}},
        "triton": {
            "gpus": 2,
            "replicas": 3,
            "modelControl": "poll",
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        },
        "dagster": {
            "serviceAccountName": "dagster",
            "runs": {
                "nodeSelector": {"pool": "batch"},
                "tolerations": [{"key": "batch", "operator": "Exists"}],
            },
        },
    },
    "without triton": {"triton": {"enabled": False}},
    "serving only": {
        "triton": {"enabled": False},
        "dagster": {"enabled": False},
        "scorer": {"enabled": False},
    },
}


@pytest.fixture(scope="module")
def chart() -> Iterator[helm.Chart]:
    with helm.Chart.load(str(CHART)) as loaded:
        yield loaded


def rendered(chart: helm.Chart, values: dict[str, Any]) -> list[dict[str, Any]]:
    manifests = chart.render(values, name="demo", namespace="fraud")
    return [
        document
        for path, text in manifests.items()
        if path.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document
    ]


def pick(documents: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    return next(each for each in documents if (each["kind"], each["metadata"]["name"]) == (kind, name))


def pod_specs(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each["spec"]["template"]["spec"] for each in documents if each["kind"] == "Deployment"]


def test_helm_lint_finds_nothing() -> None:
    messages = [each["error"] for each in helm.lint(str(CHART))["messages"]]
    assert messages == ["icon is recommended"]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_every_manifest_is_valid_kubernetes(chart: helm.Chart, variant: str, version: str) -> None:
    documents = rendered(chart, VARIANTS[variant])
    assert {"Deployment", "Service", "ConfigMap", "PodDisruptionBudget"} <= {
        each["kind"] for each in documents
    }
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)
    names = [(each["kind"], each["metadata"]["name"]) for each in documents]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "values",
    [
        {"servng": {}},
        {"serving": {"replicas": 0}},
        {"triton": {"modelControl": "none"}},
        {"redis": {"existingSecret": ""}},
        {"redis": {"tls": {"existingSecret": "ca", "clientCert": True}}},
        {"kafka": {"tls": {"existingSecret": "", "clientCertificate": True}}},
        {"kafka": {"tls": {"existingSecret": "ca", "keyPassword": True}}},  # of which key?
        {"lake": {"uri": "ftp://lake"}},
        {"serving": {"resources": {"limit": {"cpu": "1"}}}},
        {"settings": {"SPEARHEAD_SEED": "1"}},
        {"dagster": {"namespace": "elsewhere"}},  # where the volume, settings and secrets of runs are not
    ],
)
def test_a_wrong_value_is_refused(chart: helm.Chart, values: dict[str, Any]) -> None:
    with pytest.raises(helm.HelmError):
        chart.validate_schema(values)


def test_the_default_values_follow_the_schema(chart: helm.Chart) -> None:
    chart.validate_schema({})
    for variant in VARIANTS.values():
        chart.validate_schema(variant)


def test_several_tritons_with_explicit_loading_are_refused(chart: helm.Chart) -> None:
    with pytest.raises(helm.HelmError, match="poll"):
        rendered(chart, {"triton": {"replicas": 2}})


def test_a_setting_that_the_chart_renders_itself_is_refused(chart: helm.Chart) -> None:
    everything = rendered(chart, VARIANTS["everything"])
    names = set(pick(everything, "ConfigMap", "demo-spearhead-settings")["data"])
    for spec in pod_specs(everything):
        names |= {each["name"] for container in spec["containers"] for each in container.get("env", [])}
    own = VARIANTS["everything"]["settings"]
    for name in sorted(
        each.removeprefix("SPEARHEAD_").lower() for each in names if each.startswith("SPEARHEAD_")
    ):
        if name not in own:
            with pytest.raises(helm.HelmError, match=f"settings.{name} would be set twice"):
                rendered(chart, VARIANTS["everything"] | {"settings": {name: "x"}})


def test_no_secret_gets_into_the_config_map(chart: helm.Chart) -> None:
    secret = [name for name, field in Settings.model_fields.items() if field.annotation is SecretStr]
    assert {"redis_key_password", "kafka_key_password", "kafka_password"} <= set(secret)
    for name in secret:
        with pytest.raises(helm.HelmError, match=f"settings.{name} would be set twice"):
            rendered(chart, {"settings": {name: "x"}})


def test_the_password_of_a_key_is_read_from_the_secret_that_holds_the_key(chart: helm.Chart) -> None:
    values = {
        store: {"tls": {"existingSecret": f"{store}-tls", "clientCertificate": True, "keyPassword": True}}
        for store in ("redis", "kafka")
    }
    documents = rendered(chart, values)
    run = container_context(documents)["k8s"]["run_k8s_config"]["container_config"]
    told = [spec["containers"][0] for spec in pod_specs(documents)]
    for container in (run, *(each for each in told if "envFrom" in each)):
        sources = {each["name"]: each.get("valueFrom", {}).get("secretKeyRef") for each in container["env"]}
        for store in ("redis", "kafka"):
            expected = {"name": f"{store}-tls", "key": "tls.password"}
            assert sources[f"SPEARHEAD_{store.upper()}_KEY_PASSWORD"] == expected


def test_a_triton_outside_of_the_chart_can_be_set(chart: helm.Chart) -> None:
    values = {
        "triton": {"enabled": False},
        "settings": {"triton_url": "gpu:8001", "triton_repository": "/data/models"},
    }
    data = pick(rendered(chart, values), "ConfigMap", "demo-spearhead-settings")["data"]
    assert (data["SPEARHEAD_TRITON_URL"], data["SPEARHEAD_BACKEND"]) == ("gpu:8001", "auto")


def test_numbers_among_the_settings_are_written_as_people_write_them(chart: helm.Chart) -> None:
    values = {"settings": {"uniqueness_window": 10_000_000, "commit_interval_s": 0.5, "seed": 7}}
    data = pick(rendered(chart, values), "ConfigMap", "demo-spearhead-settings")["data"]
    assert data["SPEARHEAD_UNIQUENESS_WINDOW"] == "10000000"
    assert data["SPEARHEAD_COMMIT_INTERVAL_S"] == "0.5"
    assert data["SPEARHEAD_SEED"] == "7"


@pytest.mark.parametrize(
    ("serving", "budget"),
    [
        ({"replicas": 1, "autoscaling": {"enabled": False}}, False),
        ({"replicas": 2, "autoscaling": {"enabled": False}}, True),
        ({"replicas": 2, "autoscaling": {"enabled": True, "minReplicas": 1}}, False),
        ({"replicas": 1, "autoscaling": {"enabled": True, "minReplicas": 2}}, True),
    ],
)
def test_a_single_replica_does_not_keep_its_node_from_being_drained(
    chart: helm.Chart, serving: dict[str, Any], *, budget: bool
) -> None:
    kinds = {each["kind"] for each in rendered(chart, {"serving": serving})}
    assert ("PodDisruptionBudget" in kinds) == budget
    assert ("HorizontalPodAutoscaler" in kinds) == serving["autoscaling"]["enabled"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_service_of_the_namespace_passes_for_a_setting(chart: helm.Chart, variant: str) -> None:
    # A release called spearhead would give every pod SPEARHEAD_SERVING_PORT=tcp://… otherwise.
    documents = rendered(chart, VARIANTS[variant])
    specs = pod_specs(documents)
    if VARIANTS[variant].get("dagster", {}).get("enabled", True):
        specs.append(container_context(documents)["k8s"]["run_k8s_config"]["pod_spec_config"])
    assert all(spec["enableServiceLinks"] is False for spec in specs)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_pod_is_privileged(chart: helm.Chart, variant: str) -> None:
    for spec in pod_specs(rendered(chart, VARIANTS[variant])):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"requests", "limits"} <= set(container["resources"])
            assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variable_of_the_product_is_a_setting(chart: helm.Chart, variant: str) -> None:
    documents = rendered(chart, VARIANTS[variant])
    names = set(pick(documents, "ConfigMap", "demo-spearhead-settings")["data"])
    for spec in pod_specs(documents):
        names |= {
            variable["name"] for container in spec["containers"] for variable in container.get("env", [])
        }
    ours = {name for name in names if name.startswith("SPEARHEAD_")}
    known = {f"SPEARHEAD_{name}".upper() for name in Settings.model_fields}
    assert ours <= known, f"not in fraud_core/settings.py: {sorted(ours - known)}"


def test_what_a_pod_refers_to_exists_in_the_chart(chart: helm.Chart) -> None:
    documents = rendered(chart, {})
    settings = pick(documents, "ConfigMap", "demo-spearhead-settings")["data"]
    services = {each["metadata"]["name"] for each in documents if each["kind"] == "Service"}
    assert settings["SPEARHEAD_TRITON_URL"].split(":")[0] in services
    claims = {each["metadata"]["name"] for each in documents if each["kind"] == "PersistentVolumeClaim"}
    for spec in pod_specs(documents):
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for container in spec["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
        assert volumes["data"]["persistentVolumeClaim"]["claimName"] in claims
    for service in (each for each in documents if each["kind"] == "Service"):
        targets = [
            each
            for each in documents
            if each["kind"] == "Deployment"
            and service["spec"]["selector"].items() <= each["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert len(targets) == 1, service["metadata"]["name"]


def test_certificates_lie_where_the_settings_say_in_every_pod_that_has_the_settings(
    chart: helm.Chart,
) -> None:
    documents = rendered(chart, VARIANTS["everything"])
    settings = pick(documents, "ConfigMap", "demo-spearhead-settings")["data"]
    files = {name: value for name, value in settings.items() if value.startswith("/etc/spearhead/tls/")}
    assert files == {
        "SPEARHEAD_REDIS_CA": "/etc/spearhead/tls/redis/ca.crt",
        "SPEARHEAD_KAFKA_CA": "/etc/spearhead/tls/kafka/ca.crt",
        "SPEARHEAD_KAFKA_CERTIFICATE": "/etc/spearhead/tls/kafka/tls.crt",
        "SPEARHEAD_KAFKA_KEY": "/etc/spearhead/tls/kafka/tls.key",
    }
    run = container_context(documents)["k8s"]["run_k8s_config"]
    pods = [(spec["containers"][0], spec["volumes"]) for spec in pod_specs(documents)]
    pods.append((run["container_config"], run["pod_spec_config"]["volumes"]))
    told = [(container, volumes) for container, volumes in pods if "envFrom" in container]
    assert len(told) == 5
    for container, volumes in told:
        places = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        secrets = {each["name"]: each["secret"]["secretName"] for each in volumes if "secret" in each}
        assert secrets[places["/etc/spearhead/tls/redis"]] == "redis-tls"
        assert secrets[places["/etc/spearhead/tls/kafka"]] == "kafka-tls"


def test_triton_gets_its_gpus_and_the_others_none(chart: helm.Chart) -> None:
    documents = rendered(chart, VARIANTS["everything"])
    for each in documents:
        if each["kind"] == "Deployment":
            limits = each["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
            expected = 2 if each["metadata"]["name"].endswith("-triton") else None
            assert limits.get("nvidia.com/gpu") == expected


def container_context(documents: list[dict[str, Any]]) -> dict[str, Any]:
    code = pick(documents, "Deployment", "demo-spearhead-code")["spec"]["template"]["spec"]["containers"][0]
    variables = {variable["name"]: variable.get("value") for variable in code["env"]}
    context: dict[str, Any] = json.loads(variables["DAGSTER_CLI_API_GRPC_CONTAINER_CONTEXT"])
    return context


@pytest.mark.parametrize("variant", ["defaults", "everything"])
def test_a_run_becomes_a_valid_kubernetes_job(chart: helm.Chart, variant: str) -> None:
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import DagsterK8sJobConfig, UserDefinedDagsterK8sConfig, construct_dagster_k8s_job
    from kubernetes.client import ApiClient

    documents = rendered(chart, VARIANTS[variant])
    context = container_context(documents)
    UserDefinedDagsterK8sConfig.from_dict(context["k8s"]["run_k8s_config"])  # refuses misspelt keys
    k8s = K8sContainerContext.create_from_config(context)
    job = construct_dagster_k8s_job(
        DagsterK8sJobConfig(job_image="spearhead:0.1.0", dagster_home="/opt/dagster/dagster_home"),
        ["dagster", "api", "execute_run"],
        "dagster-run-1",
        user_defined_k8s_config=k8s.run_k8s_config,
    )
    manifest = ApiClient().sanitize_for_serialization(job)
    for version in KUBERNETES_VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)
    pod = manifest["spec"]["template"]["spec"]
    container = pod["containers"][0]
    serving = pick(documents, "Deployment", "demo-spearhead-serving")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {"name": "data", "mountPath": "/data"}.items() <= container["volumeMounts"][0].items()
    assert {mount["name"] for mount in container["volumeMounts"]} <= {
        volume["name"] for volume in pod["volumes"]
    }
    secrets = {each["name"] for each in serving["containers"][0]["env"] if "valueFrom" in each}
    assert secrets <= {each["name"] for each in container["env"]}
    assert manifest["spec"]["ttlSecondsAfterFinished"] == 86400


def test_dagster_accepts_the_instance_snippet(chart: helm.Chart, monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster._config import process_config
    from dagster_k8s import K8sRunLauncher

    data = pick(rendered(chart, {}), "ConfigMap", "demo-spearhead-dagster")["data"]
    instance = yaml.safe_load(data["dagster.yaml"])
    monkeypatch.setenv("DAGSTER_K8S_INSTANCE_CONFIG_MAP", "dagster-instance")  # Dagster's own chart sets both
    monkeypatch.setenv("DAGSTER_K8S_PG_PASSWORD_SECRET", "dagster-postgresql-secret")
    result = process_config(K8sRunLauncher.config_type(), instance["run_launcher"]["config"])
    assert result.success, result.errors
    workspace = yaml.safe_load(data["workspace.yaml"])["load_from"][0]["grpc_server"]
    assert workspace["host"] == "demo-spearhead-code.fraud"


def test_the_location_has_one_name_everywhere(chart: helm.Chart) -> None:
    import tomllib

    from fraud_assets.runs.client import LOCATION
    from fraud_core.platform.dagster_home import LOCATION_NAME

    root = CHART.parents[1]
    committed = yaml.safe_load((root / "dagster_workspace.yaml").read_text())["load_from"][0]["python_module"]
    documents = rendered(chart, {})
    workspace = yaml.safe_load(
        pick(documents, "ConfigMap", "demo-spearhead-dagster")["data"]["workspace.yaml"]
    )
    code = pick(documents, "Deployment", "demo-spearhead-code")["spec"]["template"]["spec"]["containers"][0]
    names = {
        LOCATION,
        LOCATION_NAME,
        committed["location_name"],
        workspace["load_from"][0]["grpc_server"]["location_name"],
        tomllib.loads((root / "pyproject.toml").read_text())["tool"]["dg"]["project"]["code_location_name"],
        next(word.partition("=")[2] for word in code["args"] if word.startswith("--location-name")),
    }
    assert names == {"spearhead"}
