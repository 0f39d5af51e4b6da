"""The example configuration parses, and listens to nobody outside by default."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow_serving.config import model_server_config_pb2

FOLDER = Path(__file__).parents[2] / "export" / "tf_serving"
FIELD = descriptor_pb2.FieldDescriptorProto
INT64, STRING, BOOL, MESSAGE = (
    FIELD.TYPE_INT64,
    FIELD.TYPE_STRING,
    FIELD.TYPE_BOOL,
    FIELD.TYPE_MESSAGE,
)
# Messages that tensorflow-serving-api does not ship, as TensorFlow Serving publishes them:
# message -> field -> (number, type, type of a message's value, whether repeated).
PUBLISHED = {
    "Int64Value": {"value": (1, INT64, None, False)},
    "PrometheusConfig": {"enable": (1, BOOL, None, False), "path": (2, STRING, None, False)},
    "MonitoringConfig": {"prometheus_config": (1, MESSAGE, "PrometheusConfig", False)},
    "SSLConfig": {
        "server_key": (1, STRING, None, False),
        "server_cert": (2, STRING, None, False),
        "custom_ca": (3, STRING, None, False),
        "client_verify": (4, BOOL, None, False),
    },
    "BatchingParameters": {
        "max_batch_size": (1, MESSAGE, "Int64Value", False),
        "batch_timeout_micros": (2, MESSAGE, "Int64Value", False),
        "max_enqueued_batches": (3, MESSAGE, "Int64Value", False),
        "num_batch_threads": (4, MESSAGE, "Int64Value", False),
        "allowed_batch_sizes": (6, INT64, None, True),
    },
}


@pytest.fixture(scope="module")
def messages():
    file = descriptor_pb2.FileDescriptorProto(name="published.proto", package="published")
    for name, fields in PUBLISHED.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, value, repeated) in fields.items():
            label = FIELD.LABEL_REPEATED if repeated else FIELD.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, type=kind, label=label)
            if value:
                added.type_name = f".published.{value}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"published.{name}"))
        for name in PUBLISHED
    }


def parsed(name, message):
    return text_format.Parse((FOLDER / name).read_text(), message)


def test_models_have_a_stable_and_a_canary_version():
    config = parsed("models.config", model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path) == ("clustr", "/models/clustr")
    assert dict(model.version_labels) == {"stable": 1, "canary": 2}
    assert set(model.version_labels.values()) <= set(model.model_version_policy.specific.versions)


def test_batches_fit_the_largest(messages):
    """TensorFlow Serving refuses a list that does not end with the largest batch."""
    config = parsed("batching_parameters.txt", messages["BatchingParameters"]())
    sizes = list(config.allowed_batch_sizes)
    assert sizes == sorted(sizes)
    assert sizes[-1] == config.max_batch_size.value == 64


def test_monitoring_is_where_prometheus_is_told_to_look(messages):
    config = parsed("monitoring.config", messages["MonitoringConfig"]())
    assert config.prometheus_config.enable
    annotations = kubernetes("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == config.prometheus_config.path


def test_the_tls_example_parses(messages):
    config = parsed("ssl.config.example", messages["SSLConfig"]())
    assert config.server_key.startswith("-----BEGIN PRIVATE KEY-----\n")


def kubernetes(kind):
    documents = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
    (found,) = [document for document in documents if document["kind"] == kind]
    return found


def test_docker_listens_to_this_machine_alone():
    compose = yaml.safe_load((FOLDER / "docker-compose.yaml").read_text())
    (service,) = compose["services"].values()
    assert service["ports"] == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]
    assert not any("batching" in option for option in service["command"])


def test_kubernetes_listens_to_the_cluster_alone():
    assert kubernetes("Service")["spec"]["type"] == "ClusterIP"
    clients, prometheus = kubernetes("NetworkPolicy")["spec"]["ingress"]
    assert clients["from"] == [{"podSelector": {"matchLabels": {"clustr-client": "true"}}}]
    # One peer of both selectors: two peers would let in every pod of every namespace.
    (peer,) = prometheus["from"]
    labels = {"app.kubernetes.io/name": "prometheus"}
    assert peer == {"namespaceSelector": {}, "podSelector": {"matchLabels": labels}}


def test_prometheus_may_reach_what_it_is_told_to_ask():
    annotations = kubernetes("Deployment")["spec"]["template"]["metadata"]["annotations"]
    _, prometheus = kubernetes("NetworkPolicy")["spec"]["ingress"]
    assert [str(port["port"]) for port in prometheus["ports"]] == [
        annotations["prometheus.io/port"]
    ]


def test_both_start_the_server_alike():
    compose = yaml.safe_load((FOLDER / "docker-compose.yaml").read_text())
    (service,) = compose["services"].values()
    (container,) = kubernetes("Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["args"] == service["command"]
    assert container["image"] == service["image"]
    assert {"name": "NVIDIA_TF32_OVERRIDE", "value": "0"} in container["env"]
    assert service["environment"] == {"NVIDIA_TF32_OVERRIDE": "0"}


def test_the_documented_commands_do_what_they_say(tmp_path):
    """Roll-out, roll-back, version 3 named and made the canary, in the order of the page."""
    commands = re.findall(r"sed -i .*", (FOLDER.parents[1] / "docs" / "serving.md").read_text())
    file = tmp_path / "models.config"
    file.write_text((FOLDER / "models.config").read_text())
    found = []
    for command in commands:
        words = shlex.split(command)
        assert words[-1] == "export/tf_serving/models.config"
        subprocess.run([*words[:-1], str(file)], check=True)
        config = text_format.Parse(file.read_text(), model_server_config_pb2.ModelServerConfig())
        (model,) = config.model_config_list.config
        versions = list(model.model_version_policy.specific.versions)
        found.append((versions, model.version_labels["stable"], model.version_labels["canary"]))
    assert found == [([1, 2], 2, 2), ([1, 2], 1, 2), ([1, 2, 3], 1, 2), ([1, 2, 3], 1, 3)]
