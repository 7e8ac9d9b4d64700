"""Mistakes in values are refused before anything is made, and the message says what to do."""

import pytest

from tests.helm.chart import CHART, VALUES, Refused, render, run_helm

pytestmark = pytest.mark.usefixtures("helm")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("image.tag=latest", "/image/tag"),
        ("services.trainer.image=r.example.org/trainer:latest", "/services/trainer/image"),
        ("services.trainer.image=trainer", "/services/trainer/image"),
        ("kafka.bootstrapServers=kafka", "/kafka/bootstrapServers"),
        ("kafka.bootstrapServers=kafka://kafka:9092", "/kafka/bootstrapServers"),
        ("kafka.securityProtocol=TLS", "/kafka/securityProtocol"),
        ("kafka.password=secret", "additional properties 'password' not allowed"),
        ("postgres.url=postgresql://u:p@h/d", "additional properties 'url' not allowed"),
        ("mlflow.trackingUri=https://user:password@mlflow", "/mlflow/trackingUri"),
        ("env.DATABASE_URL=postgresql://u:p@h/d", "additional properties 'DATABASE_URL'"),
        ("env.API_TOKEN=0123456789abcdef", "additional properties 'API_TOKEN'"),
        ("env.HANDLER_THREAD=3", "additional properties 'HANDLER_THREAD'"),
        ("env.HANDLER_THREADS=0", "/env/HANDLER_THREADS"),
        ("env.LOG_LEVEL=verbose", "/env/LOG_LEVEL"),
        ("services.trainer.env.LOG_FORMAT=xml", "/services/trainer/env/LOG_FORMAT"),
        ("services.trianer.enabled=true", "additional properties 'trianer' not allowed"),
        ("services.trainer.replica=2", "additional properties 'replica' not allowed"),
        ("services.trainer.replicas=0", "/services/trainer/replicas"),
        ("defaults.autoscaling.minReplicas=0", "/defaults/autoscaling/minReplicas"),
        ("defaults.podDisruptionBudget.maxUnavailable=0", "maxUnavailable"),
        ("defaults.probes.timeoutSeconds=5", "/defaults/probes/timeoutSeconds"),
        ("httpPort=80", "/httpPort"),
        ("datasets.specs.Bakery=x", "additional properties 'Bakery' not allowed"),
        ("dask.schedulerAddress=dask:8786", "/dask/schedulerAddress"),
        ("networkPolicy.servers.minio.ports={9000}", "additional properties 'minio'"),
    ],
)
def test_a_value_that_can_not_be_is_refused_where_it_stands(options, said):
    with pytest.raises(Refused) as refused:
        render("minimal", "--set", options)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("kafka.bootstrapServers=", "kafka.bootstrapServers is empty: name the brokers"),
        ("postgres.existingSecret=", "postgres.existingSecret is empty: name the secret"),
        ("mlflow.trackingUri=", "mlflow.trackingUri is empty: name the MLflow server"),
        ("kafka.securityProtocol=SASL_SSL", "kafka.existingSecret must name the secret"),
        ("kafka.tls.existingSecret=ca", "kafka.securityProtocol is PLAINTEXT, which has no TLS"),
        ("kafka.tls.certKey=tls.crt", "belong together"),
        ("datasets.existingConfigMap=a,datasets.existingClaim=b", "set one of specs"),
        ("ingress.enabled=true", "ingress.enabled needs ingress.host"),
        (
            "ingress.enabled=true,ingress.host=h,services.ingestor.enabled=false",
            "the ingestor, which is not enabled",
        ),
        ("migrations.mlflowUrlKey=k", "migrations.adminExistingSecret, which is empty"),
        (
            "services.validator.env.CONSUMER_INSTANCE_ID=a,services.validator.replicas=2",
            "services.validator.env.CONSUMER_INSTANCE_ID would be the id of 2 pods at once",
        ),
        (
            "services.ingestor.env.CONSUMER_INSTANCE_ID=a",
            "services.ingestor.env.CONSUMER_INSTANCE_ID would be the id of 2 pods at once",
        ),
        ("env.CONSUMER_INSTANCE_ID=a", "env.CONSUMER_INSTANCE_ID would be every pod's"),
        (
            "autoscaling.enabled=true,services.trainer.autoscaling.minReplicas=7",
            "minReplicas 7 is more than maxReplicas 6",
        ),
        (
            "defaults.strategy.rollingUpdate.maxUnavailable=0",
            "maxSurge and maxUnavailable are both 0",
        ),
        ("env.SESSION_TIMEOUT_SECONDS=6", "(10) is more than a third of SESSION_TIMEOUT_SECONDS"),
    ],
)
def test_values_that_contradict_one_another_are_refused_in_words(options, said):
    with pytest.raises(Refused) as refused:
        render("minimal", "--set", options)
    assert said in " ".join(str(refused.value).split())


def test_one_pod_alone_may_be_a_static_member():
    render("minimal", "--set", "services.trainer.env.CONSUMER_INSTANCE_ID=trainer-0")


def test_all_faults_are_told_at_once():
    with pytest.raises(Refused) as refused:
        run_helm("template", "bare", str(CHART))
    said = str(refused.value)
    for value in ("kafka.bootstrapServers", "postgres.existingSecret", "mlflow.trackingUri"):
        assert f"{value} is empty" in said


def test_a_variable_that_the_chart_sets_can_not_be_set_beside_it():
    with pytest.raises(Refused, match="extraEnv names DATABASE_URL, which the chart sets itself"):
        render("minimal", "--set", "extraEnv[0].name=DATABASE_URL,extraEnv[0].value=x")


def test_the_chart_can_be_a_part_of_another(tmp_path):
    chart = tmp_path / "parent"
    (chart / "charts").mkdir(parents=True)
    (chart / "charts" / "headrace").symlink_to(CHART)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: parent\nversion: 1.0.0\n")
    values = (VALUES / "minimal.yaml").read_text(encoding="utf-8")
    inner = "\n".join(f"  {line}" for line in values.splitlines())
    (chart / "values.yaml").write_text(f"global: {{a: 1}}\nheadrace:\n{inner}\n")
    assert "kind: Deployment" in run_helm("template", "whole", str(chart))
