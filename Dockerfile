# The execution service with the mock broker, from this checkout:  docker build --tag exec-service .
#
# Pinning: the dependencies are those of deploy/constraints.txt, version by version. The base image is a moving tag; to
# pin it too, name its digest:  docker build --build-arg BASE=python:3.11-slim@sha256:... .
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
WORKDIR /source
COPY packages packages
COPY deploy/constraints.txt deploy/constraints.txt
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels ./packages/*
# Our own packages come from here by their files, never by their names from an index. Further brokers: "mock zerodha".
ARG BROKERS=mock
RUN python -m venv /opt/exec-service \
    && for broker in ${BROKERS}; do set -- "$@" /wheels/exec_broker_${broker}-*.whl; done \
    && /opt/exec-service/bin/python -m pip install --no-cache-dir --constraint deploy/constraints.txt \
        /wheels/exec_core-*.whl "$@" /wheels/exec_service-*.whl

FROM ${BASE}
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/exec-service --no-create-home exec-service \
    && install --directory --owner exec-service --group exec-service --mode 0750 \
        /var/lib/exec-service /var/log/exec-service
COPY --from=build /opt/exec-service /opt/exec-service

ENV PATH=/opt/exec-service/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LOG_DIR=/var/log/exec-service \
    EXEC_DATA_DIR=/var/lib/exec-service/exec-data \
    HEALTH_PORT=8080

USER exec-service
WORKDIR /var/lib/exec-service
VOLUME ["/var/lib/exec-service", "/var/log/exec-service"]

# Alive, not ready: whoever replaces an unhealthy container must not do so because a broker has its nightly break.
# An empty HEALTH_PORT switches the endpoint off, and with it this check.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as request; port = os.environ.get('HEALTH_PORT'); port and request.urlopen(f'http://127.0.0.1:{port}/healthz', timeout=4)"]

STOPSIGNAL SIGTERM
ENTRYPOINT ["exec-service"]
CMD ["run"]
