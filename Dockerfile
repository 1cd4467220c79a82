# syntax=docker/dockerfile:1
# The image of the proxy: dependencies by hash, no compiler, no pip in what runs, no root, no shell.
ARG PYTHON=3.11
ARG BASE=python:${PYTHON}-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
# Dependencies first: a changed source does not install them anew.
RUN python -m venv --without-pip /opt/venv \
 && python -m pip --python /opt/venv/bin/python install --require-hashes -r requirements.lock \
 && python -m pip install --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY proxy ./proxy
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && python -m pip --python /opt/venv/bin/python install --no-deps --no-index /wheels/*.whl \
 && install -d -m 0750 -o 65532 -g 65532 /data

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="evaluation-proxy" \
      org.opencontainers.image.description="An edge proxy for Amplitude Experiment." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/venv /opt/venv
COPY --from=build --chown=65532:65532 /data /var/lib/evaluation-proxy
# Bytecode came with the build; at run time nothing is written beside the code. Who publishes a
# container's port decides who reaches it: inside, the operators' port listens on all addresses.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    AMPLITUDE_DATA_DIR=/var/lib/evaluation-proxy \
    AMPLITUDE_METRICS_HOST=0.0.0.0
USER 65532:65532
WORKDIR /
VOLUME ["/var/lib/evaluation-proxy"]
EXPOSE 3546 9090
# Ready, not just alive; before the first flags have come nobody is to be restarted for it.
HEALTHCHECK --interval=10s --timeout=6s --start-period=300s --retries=6 CMD ["evaluation-proxy", "probe"]
ENTRYPOINT ["evaluation-proxy"]
CMD ["serve"]
