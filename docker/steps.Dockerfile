# The pipeline's steps, as image `data` (EXTRA=data) and image `trainer` (EXTRA=train): BuildKit, with
# the repository's root as context.
#   docker build -f docker/steps.Dockerfile --build-arg EXTRA=train --build-arg ACCELERATOR=cuda .
# KFP's launcher starts its executor by `sh -ec`, which makes a temporary file: dash and coreutils
# are there for it. No pip, no package manager, no compiler.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update && apt-get install -y --no-install-recommends \
    binutils ca-certificates python3-venv

FROM build AS libraries
ARG EXTRA=data
# The build of torch decides CPU or GPU; a wheel in docker/wheels comes before any index.
ARG TORCH=torch==2.13.0
ARG ACCELERATOR=cpu
ARG PIP_EXTRA_INDEX_URL
ARG SOURCE_DATE_EPOCH=0
# DeepSpeed compiles nothing while it is installed, and needs nothing compiled in finegate's use.
ENV DS_BUILD_OPS=0
WORKDIR /build
COPY pyproject.toml constraints.txt docker/install_extra.py ./
RUN --mount=type=bind,source=docker/wheels,target=/build/wheels \
    --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=ca \
    python3 install_extra.py "$EXTRA" "$TORCH" "$ACCELERATOR" \
 && find /opt/venv -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

FROM build AS root
ARG SOURCE_DATE_EPOCH=0
WORKDIR /build
COPY docker/root_filesystem.sh ./
RUN ./root_filesystem.sh base-files coreutils dash libacl1 libattr1 libbz2-1.0 libc-bin libc6 \
    libcrypt1 libexpat1 libffi8 libgcc-s1 libgmp10 liblzma5 libpcre2-8-0 libpython3.11-minimal \
    libpython3.11-stdlib libselinux1 libsqlite3-0 libssl3 libstdc++6 libuuid1 media-types \
    python3.11-minimal zlib1g

FROM build AS code
ARG SOURCE_DATE_EPOCH=0
RUN python3 -m venv /opt/packer
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=ca \
    if [ -f /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi \
 && /opt/packer/bin/pip install --constraint constraints.txt hatchling
COPY components components
COPY pipelines pipelines
COPY serving serving
# Installed, not copied: a release records the version that made it. The command line stays out.
RUN /opt/packer/bin/pip install --no-deps --no-build-isolation --no-compile --target /app . \
 && rm -rf /app/pipelines /app/bin \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /app \
 && find /app -exec touch -d "@$SOURCE_DATE_EPOCH" {} + && chmod -R a+rX,go-w /app

FROM scratch
ARG EXTRA=data
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG BASE
LABEL org.opencontainers.image.title="finegate ${EXTRA}" \
      org.opencontainers.image.description="Steps of the pipeline, started by KFP's launcher" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
COPY --from=root /rootfs /
COPY --from=libraries /opt/venv /opt/venv
COPY --from=code /app /app
ENV PATH=/opt/venv/bin:/usr/bin:/bin \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    HF_HOME=/tmp/huggingface \
    MPLCONFIGDIR=/tmp/matplotlib \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
WORKDIR /tmp
USER 65532:65532
STOPSIGNAL SIGTERM
# A step ends by itself: there is nothing to probe.
HEALTHCHECK NONE
CMD ["python3", "-m", "kfp.dsl.executor_main", "--help"]
