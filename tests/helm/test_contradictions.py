"""Values that contradict each other, or are none, are refused with a sentence that says what to do."""

import pytest
import yaml

from conftest import CHART, helm

POSTGRES = {"database": {"existingSecret": "database"}, "masterKey": {"existingSecret": "key"}}
TLS = {"enabled": True, "existingSecret": "certificate"}
INGRESS = {"enabled": True, "hosts": [{"host": "auth.example.com"}]}
NGINX = "nginx.ingress.kubernetes.io/"
GITHUB = {"kind": "github", "client_id": "x"}
ROUTE = {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["auth.example.com"]}


def config(section, **keys):
    return {"config": {section: keys}}


def provider(**keys):
    """A provider that has its secret."""
    return config("oauth", providers={"idp": {"kind": "oidc", "client_id": "x"} | keys}) | {"oauthSecrets": {"idp": {"existingSecret": "x"}}}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (config("server", listen="0.0.0.0:1"), "config.server.listen is decided by the chart: use listenAddress and service.port."),
        (config("server", tls={"cert": "x"}), "config.server.tls is decided by the chart: use tls."),
        (config("database", url="postgres://x"), "config.database.url is decided by the chart: use database.existingSecret."),
        (config("secrets", master_key="x"), "config.secrets.master_key is decided by the chart: use masterKey.existingSecret."),
        (config("secrets", masterkey="x"), "config.secrets.masterkey would be in a ConfigMap, where no secret belongs: use masterKey."),
        (config("telemetry", otlp_endpoint="http://me:secret@otel:4317"), "config.telemetry.otlp_endpoint has a URL with a password, which would be in a ConfigMap: leave the password out."),
        (config("database", ulr="postgres://me:secret@db/x"), "config.database.ulr has a URL with a password"),
        (config("oauth", providers={"idp": {"kind": "oidc", "client_id": "x", "issuer": "https://me:secret@idp.example.com"}}), "config.oauth.providers has a URL with a password"),
        (config("mail", smtp_url="x"), "config.mail.smtp_url is decided by the chart: use smtp.existingSecret."),
        (config("oauth", providers={"github": GITHUB}), "config.oauth.providers.github needs its client secret: set oauthSecrets.github.existingSecret."),
        (config("oauth", providers={"github": GITHUB | {"client_secret": "x"}}), "client_secret would be in a ConfigMap: use oauthSecrets.github."),
        (config("oauth", providers={"github": GITHUB | {"clientSecret": "x"}}), "clientSecret would be in a ConfigMap: use oauthSecrets.github."),
        ({"oauthSecrets": {"github": {"existingSecret": "x"}}}, "oauthSecrets.github belongs to no provider: set config.oauth.providers.github."),
        ({"autoscaling": {"enabled": True}}, "autoscaling.enabled needs PostgreSQL: SQLite serves one process. Set database.existingSecret."),
        ({"replicaCount": 2}, "replicaCount over 1 needs PostgreSQL: SQLite serves one process. Set database.existingSecret."),
        ({"database": {"directUrlKey": "x"}}, "database.directUrlKey is for PostgreSQL: set database.existingSecret."),
        ({"database": {"ca": {"existingSecret": "x"}}}, "database.ca is for PostgreSQL: set database.existingSecret."),
        ({"database": {"existingSecret": "x"}}, "PostgreSQL needs a master key: set masterKey.existingSecret."),
        (POSTGRES, "PostgreSQL needs config.server.public_url: it is the issuer of tokens, and one that followed the hosts would change with them"),
        ({"ingress": {"enabled": True, "hosts": [{"host": "*.example.com"}]}}, "The host *.example.com is no address that tokens and links could name: set config.server.public_url."),
        ({"httpRoute": ROUTE | {"hostnames": ["*.example.com", "auth.example.com"]}}, "The host *.example.com is no address that tokens and links could name: set config.server.public_url."),
        (POSTGRES | {"persistence": {"existingClaim": "x"}}, "persistence.existingClaim is the volume of SQLite, and database.existingSecret says PostgreSQL."),
        ({"masterKey": {"previousKey": "x"}}, "masterKey.previousKey is a key of masterKey.existingSecret, which is not set."),
        (POSTGRES | {"autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 2}}, "autoscaling.minReplicas is over autoscaling.maxReplicas."),
        ({"smtp": {"existingSecret": "x"}}, "smtp.existingSecret needs a sender: set config.mail.from."),
        ({"tls": {"enabled": True}}, "tls.enabled needs a certificate: set tls.existingSecret or tls.certManager.enabled."),
        ({"tls": TLS | {"certManager": {"enabled": True}}}, "tls.existingSecret and tls.certManager.enabled both name a certificate: choose one."),
        ({"tls": {"enabled": True, "certManager": {"enabled": True}}}, "tls.certManager.enabled needs an issuer: set tls.certManager.issuerRef.name."),
        (
            {"tls": {"enabled": True, "certManager": {"enabled": True, "issuerRef": {"name": "x"}, "duration": "240h", "renewBefore": "720h"}}},
            "tls.certManager.renewBefore is not under tls.certManager.duration, so the certificate would be renewed without end.",
        ),
        ({"tls": {"clientCA": {"existingSecret": "x"}}}, "tls.clientCA asks clients for certificates, which needs tls.enabled."),
        ({"tls": {"certManager": {"enabled": True}}}, "tls.certManager.enabled makes a certificate that nothing serves: set tls.enabled."),
        ({"tls": {"existingSecret": "x"}}, "tls.existingSecret is a certificate that nothing serves: set tls.enabled."),
        ({"ingress": {"enabled": True}}, "ingress.enabled needs a host: set ingress.hosts."),
        ({"ingress": {"grpc": {"enabled": True}}}, "ingress.grpc.enabled goes with ingress.enabled, whose hosts it has."),
        ({"ingress": INGRESS | {"annotations": {f"{NGINX}ssl-passthrough": "true"}}}, "ingress.annotations passes TLS through, and the service speaks none: set tls.enabled."),
        (
            {"tls": TLS, "ingress": INGRESS | {"annotations": {f"{NGINX}ssl-passthrough": "true"}, "grpc": {"enabled": True}}},
            "ingress.grpc.enabled tells gRPC by its path, which nobody sees where TLS is passed through: one Ingress carries both.",
        ),
        ({"tls": TLS | {"clientCA": {"existingSecret": "x"}}, "ingress": INGRESS}, "tls.clientCA asks the Ingress controller for a certificate, too"),
        ({"tls": TLS, "ingress": INGRESS | {"annotations": {f"{NGINX}backend-protocol": "HTTP"}}}, "backend-protocol HTTP is without TLS, which tls.enabled turns on: say HTTPS."),
        ({"ingress": INGRESS | {"grpc": {"enabled": True, "annotations": {f"{NGINX}backend-protocol": "GRPCS"}}}}, "backend-protocol GRPCS is TLS, which the service does not speak: set tls.enabled."),
        ({"tls": TLS, "ingress": INGRESS | {"className": "nginx"}}, f"ingress.annotations: ingress-nginx speaks HTTP/1.1 without TLS to the service unless it is told: set {NGINX}backend-protocol: HTTPS."),
        ({"ingress": INGRESS | {"className": "nginx", "grpc": {"enabled": True}}}, f"ingress.grpc.annotations: ingress-nginx speaks HTTP/1.1 without TLS to the service unless it is told: set {NGINX}backend-protocol: GRPC."),
        ({"tls": TLS, "ingress": INGRESS | {"className": "nginx", "grpc": {"enabled": True}}}, f"set {NGINX}backend-protocol: GRPCS."),
        ({"tls": TLS | {"clientCA": {"existingSecret": "x"}}, "httpRoute": ROUTE}, "tls.clientCA asks the Gateway for a certificate, too, which httpRoute cannot give it"),
        ({"tls": TLS | {"clientCA": {"existingSecret": "x"}}, "grpcRoute": ROUTE}, "tls.clientCA asks the Gateway for a certificate, too, which grpcRoute cannot give it"),
        ({"tls": TLS, "httpRoute": ROUTE}, "httpRoute leads a Gateway to a service that speaks TLS alone, and nothing tells it whose certificate to take: set backendTLSPolicy.enabled."),
        ({"tls": TLS, "grpcRoute": ROUTE}, "grpcRoute leads a Gateway to a service that speaks TLS alone"),
        ({"backendTLSPolicy": {"enabled": True}}, "backendTLSPolicy.enabled has Gateways speak TLS, which the service does not: set tls.enabled."),
        ({"tls": TLS, "service": {"appProtocol": "kubernetes.io/h2c"}}, "service.appProtocol kubernetes.io/h2c is without TLS, which tls.enabled turns on: leave it empty."),
        ({"service": {"appProtocol": "https"}}, "service.appProtocol https is TLS, which the service does not speak: set tls.enabled."),
        ({"httpRoute": {"enabled": True}}, "httpRoute.enabled needs a Gateway: set httpRoute.parentRefs."),
        ({"grpcRoute": {"enabled": True}}, "grpcRoute.enabled needs a Gateway: set grpcRoute.parentRefs."),
        ({"httpRoute": ROUTE, "grpcRoute": ROUTE}, "httpRoute and grpcRoute have a host in common, of which a Gateway refuses one"),
        ({"internal": {"enabled": True}}, "internal.enabled opens a port that networkPolicy.internal.from lets nobody reach: name who asks."),
        ({"service": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}}, "service.loadBalancerSourceRanges is only for service.type LoadBalancer."),
        ({"service": {"externalTrafficPolicy": "Local"}}, "service.externalTrafficPolicy is not for service.type ClusterIP."),
        ({"terminationGracePeriodSeconds": 25}, "terminationGracePeriodSeconds is 25, and config.server.drain_delay and drain_timeout together are 25 s: a pod would be killed while it drains."),
        (POSTGRES | {"podDisruptionBudget": {"minAvailable": 1}}, "podDisruptionBudget.minAvailable and maxUnavailable exclude each other: set the other to null."),
        (POSTGRES | {"podDisruptionBudget": {"maxUnavailable": None}}, "podDisruptionBudget.enabled needs minAvailable or maxUnavailable."),
        (POSTGRES | {"replicaCount": 2, "podDisruptionBudget": {"minAvailable": 2, "maxUnavailable": None}}, "podDisruptionBudget.minAvailable is all replicas there may be, so no node could be drained."),
        (POSTGRES | {"replicaCount": 2, "podDisruptionBudget": {"minAvailable": "100%", "maxUnavailable": None}}, "podDisruptionBudget.minAvailable is all replicas there may be, so no node could be drained."),
        (POSTGRES | {"replicaCount": 2, "podDisruptionBudget": {"minAvailable": "51%", "maxUnavailable": None}}, "podDisruptionBudget.minAvailable is all replicas there may be, so no node could be drained."),
        (POSTGRES | {"replicaCount": 2, "podDisruptionBudget": {"maxUnavailable": 0}}, "podDisruptionBudget.maxUnavailable is none, so no node could be drained."),
        (POSTGRES | {"replicaCount": 2, "podDisruptionBudget": {"maxUnavailable": "0%"}}, "podDisruptionBudget.maxUnavailable is none, so no node could be drained."),
        (config("telemetry", otlp_endpoint="https://otel.example.com"), "config.telemetry.otlp_endpoint is at port 443, which the NetworkPolicy keeps the service from: add it to networkPolicy.egress.otlp.ports, or a rule to networkPolicy.egress.extra."),
        (config("telemetry", otlp_endpoint="http://otel/x:4317"), "config.telemetry.otlp_endpoint is at port 80"),
        (provider(issuer="https://idp.example.com:8443/realm"), "config.oauth.providers.idp.issuer is at port 8443, which the NetworkPolicy keeps the service from: add it to networkPolicy.egress.https.ports"),
        (provider(kind="github", token_url="https://github.example.com:444/x"), "config.oauth.providers.idp.token_url is at port 444"),
        (provider(kind="github") | {"networkPolicy": {"egress": {"https": {"ports": [8443]}}}}, "config.oauth.providers.idp is at port 443"),
        ({"networkPolicy": {"metrics": {"from": []}}}, "metrics.enabled opens a port that networkPolicy.metrics.from lets nobody reach: name who asks, or set metrics.enabled to false."),
        ({"metrics": {"enabled": False, "serviceMonitor": {"enabled": True}}}, "metrics.serviceMonitor.enabled needs the Service of metrics.enabled."),
        ({"metrics": {"enabled": False, "prometheusRule": {"enabled": True}}}, "metrics.prometheusRule.enabled looks at metrics, which metrics.enabled turns off."),
        (config("passwords", max_concurrent=8), "resources.limits.memory is 256Mi, and at least 324Mi are needed: 24 for the service, 160 for the passwords hashed at once (config.passwords), 64 for a hash that was imported, 76 for the caches"),
        ({"resources": {"limits": {"memory": "a lot"}}}, 'resources.limits.memory: "a lot" is not a quantity such as 256Mi.'),
        # By the schema.
        ({"replicas": 3}, "additional properties 'replicas' not allowed"),
        ({"config": {"sever": {}}}, "additional properties 'sever' not allowed"),
        (config("server", drain_delay="soon"), "at '/config/server/drain_delay'"),
        ({"service": {"type": "ExternalName"}}, "at '/service/type'"),
        ({"image": {"digest": "sha256:0"}}, "at '/image/digest'"),
    ],
)
def test_it_is_refused_with_a_sentence(values, sentence):
    done = helm("template", "auth", CHART, "--values", "-", stdin=yaml.safe_dump(values))
    assert done.returncode != 0
    assert sentence in done.stderr, done.stderr


OTLP = config("telemetry", otlp_endpoint="https://otel.example.com")


@pytest.mark.parametrize(
    "values",
    [
        OTLP | {"networkPolicy": {"egress": {"otlp": {"ports": [443]}}}},
        OTLP | {"networkPolicy": {"egress": {"extra": [{"ports": [{"port": 443}]}]}}},
        OTLP | {"networkPolicy": {"egress": {"enabled": False}}},
        OTLP | {"networkPolicy": {"enabled": False}},
        config("telemetry", otlp_endpoint="http://[fd00::1]:4317"),
        provider(issuer="https://idp.example.com/realm"),
        {"metrics": {"enabled": False}, "networkPolicy": {"metrics": {"from": []}}},
        {"ingress": {"enabled": True, "hosts": [{"host": "*.example.com"}]}} | config("server", public_url="https://auth.example.com"),
        POSTGRES | config("server", public_url="https://x") | {"replicaCount": 3, "podDisruptionBudget": {"minAvailable": "50%", "maxUnavailable": None}},
        {"tls": TLS, "ingress": INGRESS | {"className": "nginx", "annotations": {f"{NGINX}backend-protocol": "HTTPS"}}},
        {"tls": TLS, "ingress": INGRESS | {"className": "nginx", "annotations": {f"{NGINX}ssl-passthrough": "true"}}},
        {"tls": TLS, "ingress": INGRESS | {"className": "nginx", "annotations": {"nginx.org/ssl-services": "auth-countersign"}}},
        config("passwords", max_concurrent=4),
    ],
)
def test_its_neighbour_is_not_refused(values):
    done = helm("template", "auth", CHART, "--values", "-", stdin=yaml.safe_dump(values))
    assert done.returncode == 0, done.stderr


def test_all_faults_are_told_at_once():
    values = {"replicaCount": 2, "tls": {"enabled": True}, "ingress": {"enabled": True}}
    done = helm("template", "auth", CHART, "--values", "-", stdin=yaml.safe_dump(values))
    assert all(fault in done.stderr for fault in ("replicaCount over 1", "tls.enabled needs", "ingress.enabled needs"))
