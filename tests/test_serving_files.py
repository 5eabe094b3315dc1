"""The files for TensorFlow Serving say what its protos, compose and Kubernetes know, and all of them the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from sonicrnn.exported import Limits

SERVING = Path(__file__).parents[1] / "serving"
FieldType = descriptor_pb2.FieldDescriptorProto


def messages(made: dict[str, list[tuple[str, int, Any, str]]]) -> Any:
    """The class of the last of these messages, whose .proto the serving API's package leaves out.

    Each is a list of (name, number, type, type's name); a number under 0 is a repeated field's.
    """
    file = descriptor_pb2.FileDescriptorProto(name="left_out.proto", package="tensorflow.serving", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    for name, fields in made.items():
        one = file.message_type.add(name=name)
        for field, number, kind, of in fields:
            label = FieldType.LABEL_REPEATED if number < 0 else FieldType.LABEL_OPTIONAL
            one.field.add(name=field, number=abs(number), type=kind, type_name=of or None, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{list(made)[-1]}"))


def batching_parameters() -> Any:
    """tensorflow_serving/servables/tensorflow/session_bundle_config.proto"""
    number, text = ".google.protobuf.Int64Value", ".google.protobuf.StringValue"
    fields = [
        ("max_batch_size", 1, FieldType.TYPE_MESSAGE, number),
        ("batch_timeout_micros", 2, FieldType.TYPE_MESSAGE, number),
        ("max_enqueued_batches", 3, FieldType.TYPE_MESSAGE, number),
        ("num_batch_threads", 4, FieldType.TYPE_MESSAGE, number),
        ("thread_pool_name", 5, FieldType.TYPE_MESSAGE, text),
        ("allowed_batch_sizes", -6, FieldType.TYPE_INT64, ""),
        ("pad_variable_length_inputs", 7, FieldType.TYPE_BOOL, ""),
    ]
    return messages({"BatchingParameters": fields})


def monitoring_config() -> Any:
    """tensorflow_serving/config/monitoring_config.proto"""
    return messages(
        {
            "PrometheusConfig": [("enable", 1, FieldType.TYPE_BOOL, ""), ("path", 2, FieldType.TYPE_STRING, "")],
            "MonitoringConfig": [
                ("prometheus_config", 1, FieldType.TYPE_MESSAGE, ".tensorflow.serving.PrometheusConfig")
            ],
        }
    )


def read_yaml(name: str) -> list[Any]:
    return list(yaml.safe_load_all((SERVING / name).read_text()))


def test_the_models_are_those_of_the_proto() -> None:
    config = text_format.Parse((SERVING / "models.config").read_text(), ModelServerConfig()).model_config_list.config[0]
    assert (config.name, config.base_path, config.model_platform) == ("my", "/models/my", "tensorflow")
    assert config.model_version_policy.latest.num_versions == 2
    assert dict(config.version_labels) == {"stable": 1}


def test_a_canary_is_a_version_that_is_served_beside_the_stable_one() -> None:
    text = (SERVING / "models-canary.config").read_text()
    config = text_format.Parse(text, ModelServerConfig()).model_config_list.config[0]
    assert set(config.version_labels) == {"stable", "canary"}
    assert set(config.version_labels.values()) <= set(config.model_version_policy.specific.versions)


def test_batches_are_no_larger_than_the_export_takes() -> None:
    parameters = text_format.Parse((SERVING / "batching.config").read_text(), batching_parameters()())
    assert parameters.max_batch_size.value == Limits().batch
    assert parameters.pad_variable_length_inputs
    assert not parameters.allowed_batch_sizes
    assert 0 < parameters.batch_timeout_micros.value <= 20_000
    assert parameters.max_enqueued_batches.value > 0


def test_metrics_are_where_prometheus_looks_for_them() -> None:
    text = (SERVING / "monitoring.config").read_text()
    config = text_format.Parse(text, monitoring_config()()).prometheus_config
    assert config.enable
    (job,) = read_yaml("prometheus.yml")[0]["scrape_configs"]
    assert job["metrics_path"] == config.path == "/monitoring/prometheus/metrics"
    (deployment,) = [document for document in read_yaml("kubernetes.yaml") if document["kind"] == "Deployment"]
    assert deployment["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"] == config.path


def test_compose_and_kubernetes_start_the_same_server() -> None:
    compose = read_yaml("compose.yaml")[0]["services"]["serving"]
    (deployment,) = [document for document in read_yaml("kubernetes.yaml") if document["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert set(compose["command"]) <= set(container["args"])
    assert compose["image"].split(":")[0] == container["image"].split(":")[0]
    assert container["image"].split(":")[1] in compose["image"]
    files = {Path(flag.partition("=")[2]).name for flag in compose["command"] if "=/config/" in flag}
    (generator,) = read_yaml("kustomization.yaml")[0]["configMapGenerator"]
    assert files == set(generator["files"])
    assert all((SERVING / name).is_file() for name in files)
    assert all(port.startswith("127.0.0.1:") for port in compose["ports"])


# Kubernetes' own field names and types, of what is used here; a field that it does not know is refused. -----------


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
Quantity = Annotated[str, Field(pattern=r"^\d+(\.\d+)?(m|[KMGT]i?)?$")]
Port = Annotated[int, Field(ge=1, le=65_535)]


class Metadata(Part):
    name: Name | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Selector(Part):
    matchLabels: dict[str, str]


class HttpGet(Part):
    path: str
    port: Name | Port


class TcpSocket(Part):
    port: Name | Port


class Probe(Part):
    httpGet: HttpGet | None = None
    tcpSocket: TcpSocket | None = None
    periodSeconds: int = 10
    failureThreshold: int = 3


class Exec(Part):
    command: list[str]


class Handler(Part):
    exec: Exec


class Lifecycle(Part):
    preStop: Handler


class Resources(Part):
    requests: dict[Literal["cpu", "memory", "storage"], Quantity] = {}
    limits: dict[Literal["cpu", "memory"], Quantity] = {}


class ContainerPort(Part):
    name: Annotated[Name, Field(max_length=15)]
    containerPort: Port


class Capabilities(Part):
    drop: list[str]


class ContainerSecurity(Part):
    allowPrivilegeEscalation: bool
    readOnlyRootFilesystem: bool
    capabilities: Capabilities


class Mount(Part):
    name: Name
    mountPath: Annotated[str, Field(pattern="^/")]
    readOnly: bool = False


class Container(Part):
    name: Name
    image: Annotated[str, Field(pattern=r"^[a-z0-9./-]+:[\w.-]+$")]
    command: list[str]
    args: list[str]
    ports: list[ContainerPort]
    resources: Resources
    startupProbe: Probe
    readinessProbe: Probe
    livenessProbe: Probe
    lifecycle: Lifecycle
    securityContext: ContainerSecurity
    volumeMounts: list[Mount]


class Claim(Part):
    claimName: Name
    readOnly: bool = False


class ConfigMap(Part):
    name: Name


class Empty(Part):
    pass


class Volume(Part):
    name: Name
    persistentVolumeClaim: Claim | None = None
    configMap: ConfigMap | None = None
    emptyDir: Empty | None = None


class Seccomp(Part):
    type: Literal["RuntimeDefault", "Unconfined", "Localhost"]


class PodSecurity(Part):
    runAsNonRoot: bool
    runAsUser: int
    seccompProfile: Seccomp


class PodSpec(Part):
    automountServiceAccountToken: bool
    terminationGracePeriodSeconds: int
    securityContext: PodSecurity
    containers: list[Container]
    volumes: list[Volume]


class Template(Part):
    metadata: Metadata
    spec: PodSpec


class RollingUpdate(Part):
    maxUnavailable: int
    maxSurge: int


class Strategy(Part):
    type: Literal["RollingUpdate", "Recreate"]
    rollingUpdate: RollingUpdate


class DeploymentSpec(Part):
    replicas: int
    selector: Selector
    strategy: Strategy
    template: Template


class Deployment(Part):
    apiVersion: Literal["apps/v1"]
    kind: Literal["Deployment"]
    metadata: Metadata
    spec: DeploymentSpec


class ServicePort(Part):
    name: Name
    port: Port
    targetPort: Name | Port


class ServiceSpec(Part):
    selector: dict[str, str]
    ports: list[ServicePort]


class Service(Part):
    apiVersion: Literal["v1"]
    kind: Literal["Service"]
    metadata: Metadata
    spec: ServiceSpec


class ClaimSpec(Part):
    accessModes: list[Literal["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]]
    resources: Resources


class VolumeClaim(Part):
    apiVersion: Literal["v1"]
    kind: Literal["PersistentVolumeClaim"]
    metadata: Metadata
    spec: ClaimSpec


class BudgetSpec(Part):
    minAvailable: int
    selector: Selector


class Budget(Part):
    apiVersion: Literal["policy/v1"]
    kind: Literal["PodDisruptionBudget"]
    metadata: Metadata
    spec: BudgetSpec


MANIFEST: TypeAdapter[Any] = TypeAdapter(
    Annotated[Deployment | Service | VolumeClaim | Budget, Field(discriminator="kind")]
)


def test_the_manifests_fit_the_schema_and_each_other() -> None:
    made = {document["kind"]: MANIFEST.validate_python(document) for document in read_yaml("kubernetes.yaml")}
    assert set(made) == {"PersistentVolumeClaim", "Deployment", "Service", "PodDisruptionBudget"}
    deployment: Deployment = made["Deployment"]
    template = deployment.spec.template
    (container,) = template.spec.containers
    assert deployment.spec.selector.matchLabels == template.metadata.labels == made["Service"].spec.selector
    assert made["PodDisruptionBudget"].spec.selector.matchLabels == template.metadata.labels
    assert {port.targetPort for port in made["Service"].spec.ports} == {port.name for port in container.ports}
    assert {mount.name for mount in container.volumeMounts} == {volume.name for volume in template.spec.volumes}
    claims = [volume.persistentVolumeClaim for volume in template.spec.volumes if volume.persistentVolumeClaim]
    assert {claim.claimName for claim in claims} == {made["PersistentVolumeClaim"].metadata.name}
    configs = {volume.configMap.name for volume in template.spec.volumes if volume.configMap}
    assert configs == {generator["name"] for generator in read_yaml("kustomization.yaml")[0]["configMapGenerator"]}


def test_a_field_that_kubernetes_does_not_know_is_found() -> None:
    (deployment,) = [document for document in read_yaml("kubernetes.yaml") if document["kind"] == "Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(ValidationError, match="readynessProbe"):
        MANIFEST.validate_python(deployment)
