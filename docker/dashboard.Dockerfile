# The dashboard: BuildKit, with the repository's root as context.
#   docker build -f docker/dashboard.Dockerfile --build-arg BASE=debian:bookworm-slim@sha256:... .
# The final stage has Python, the libraries of the extra `dashboard` and our code: no torch, no shell,
# no pip, no package manager, no compiler.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update && apt-get install -y --no-install-recommends \
    binutils ca-certificates python3-venv

FROM build AS libraries
ARG PIP_EXTRA_INDEX_URL
ARG SOURCE_DATE_EPOCH=0
WORKDIR /build
COPY pyproject.toml constraints.txt docker/install_extra.py ./
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=ca \
    python3 install_extra.py dashboard \
 && find /opt/venv -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

FROM build AS root
ARG SOURCE_DATE_EPOCH=0
WORKDIR /build
COPY docker/root_filesystem.sh ./
RUN ./root_filesystem.sh base-files libbz2-1.0 libc6 libcrypt1 libexpat1 libffi8 libgcc-s1 \
    liblzma5 libpython3.11-minimal libpython3.11-stdlib libsqlite3-0 libssl3 libstdc++6 \
    libuuid1 media-types python3.11-minimal zlib1g

FROM build AS code
ARG SOURCE_DATE_EPOCH=0
WORKDIR /app
COPY LICENSE ./
COPY components components
COPY pipelines pipelines
COPY serving serving
RUN python3 -m compileall -q --invalidation-mode unchecked-hash . \
 && find . -exec touch -d "@$SOURCE_DATE_EPOCH" {} + && chmod -R a+rX,go-w .

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG BASE
LABEL org.opencontainers.image.title="finegate dashboard" \
      org.opencontainers.image.description="Champions, candidates and reports of a store, read-only" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
COPY --from=root /rootfs /
COPY --from=libraries /opt/venv /opt/venv
COPY --from=code /app /app
ENV PATH=/opt/venv/bin:/usr/bin \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
WORKDIR /app
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["python", "-m", "pipelines.dashboard", "--host", "0.0.0.0", "--port", "8080"]
CMD ["--store", "s3://finegate"]
