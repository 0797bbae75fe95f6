# syntax=docker/dockerfile:1
# Stages: train, serve-cpu (no torch), serve-gpu, rollout. `make images` builds them all.
#
# Any Debian-like image with Python 3.11 and venv will do as a base. Behind a proxy, pass the usual
# HTTP_PROXY, HTTPS_PROXY and NO_PROXY build arguments. A package index or a certificate authority
# of your own comes in as secrets, which leave no trace in the image:
#   --secret id=pip-conf,src=pip.conf      read by pip as /etc/pip.conf
#   --secret id=ca-bundle,src=ca.pem       for `cert = /run/secrets/ca-bundle` in that file
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

# hadolint ignore=DL3006
FROM ${PYTHON_IMAGE} AS base
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONFAULTHANDLER=1

# Dependencies go to /opt/venv, our packages to /opt/sightline: a change of the sources leaves the
# layer with gigabytes of libraries as it is. pip stays in an environment that is not copied on.
FROM base AS build
ENV PIP_CONSTRAINT=/src/constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_NO_INPUT=1 \
    PIP_PROGRESS_BAR=off \
    PIP_PYTHON=/opt/venv/bin/python
WORKDIR /src
RUN python3 -m venv /opt/pip \
    && python3 -m venv --without-pip /opt/venv \
    && echo /opt/sightline > "$(echo /opt/venv/lib/python3*/site-packages)/sightline.pth"
COPY pyproject.toml constraints.txt LICENSE README.md ./

FROM build AS dependencies-train
RUN --mount=type=secret,id=pip-conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca-bundle,target=/run/secrets/ca-bundle \
    /opt/pip/bin/pip install ".[train,remote]" && /opt/pip/bin/pip uninstall --yes sightline

FROM build AS dependencies-serve-cpu
RUN --mount=type=secret,id=pip-conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca-bundle,target=/run/secrets/ca-bundle \
    /opt/pip/bin/pip install ".[serve-cpu]" && /opt/pip/bin/pip uninstall --yes sightline

FROM build AS dependencies-serve-gpu
RUN --mount=type=secret,id=pip-conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca-bundle,target=/run/secrets/ca-bundle \
    /opt/pip/bin/pip install ".[serve]" && /opt/pip/bin/pip uninstall --yes sightline

# The analyst reads no image: what it needs is its extra, and nothing of what all the others need.
FROM build AS dependencies-rollout
RUN --mount=type=secret,id=pip-conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca-bundle,target=/run/secrets/ca-bundle \
    python3 -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['rollout'], sep='\n')" > rollout.txt \
    && /opt/pip/bin/pip install --requirement rollout.txt

FROM build AS packages-train
COPY model model
COPY train train
RUN --mount=type=secret,id=pip-conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca-bundle,target=/run/secrets/ca-bundle \
    /opt/pip/bin/pip install --no-deps --target /opt/sightline .

FROM build AS packages-serve
COPY model model
COPY predictor predictor
RUN --mount=type=secret,id=pip-conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca-bundle,target=/run/secrets/ca-bundle \
    /opt/pip/bin/pip install --no-deps --target /opt/sightline .

FROM build AS packages-rollout
COPY k8s/__init__.py k8s/__init__.py
COPY k8s/rollout k8s/rollout
RUN --mount=type=secret,id=pip-conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca-bundle,target=/run/secrets/ca-bundle \
    /opt/pip/bin/pip install --no-deps --target /opt/sightline .

# The images run as a number without an account, on a read-only root with a writable /tmp.
FROM base AS runtime
LABEL org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="The Sightline Authors"
WORKDIR /tmp
USER 10001:10001
STOPSIGNAL SIGTERM

FROM runtime AS train
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
HEALTHCHECK NONE
ENTRYPOINT ["python", "-m", "train"]
COPY --from=dependencies-train /opt/venv /opt/venv
COPY --from=packages-train /opt/sightline /opt/sightline
ARG VERSION=0.0.0
ARG REVISION=unknown
# An image holds no repository to ask for the commit that a bundle's provenance names.
ENV SIGHTLINE_REVISION=${REVISION}
LABEL org.opencontainers.image.title="sightline-train" \
      org.opencontainers.image.description="Images to a released, calibrated, explained bundle" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM runtime AS rollout
EXPOSE 8080
HEALTHCHECK NONE
ENTRYPOINT ["python", "-m", "k8s.rollout"]
COPY --from=dependencies-rollout /opt/venv /opt/venv
COPY --from=packages-rollout /opt/sightline /opt/sightline
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sightline-rollout" \
      org.opencontainers.image.description="Steps requests to a new model while it is no worse" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM runtime AS serve
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s \
    CMD ["python", "-c", "import http.client as h, sys; c = h.HTTPConnection('127.0.0.1', 8080, timeout=2); c.request('GET', '/v2/health/ready'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["python", "-m", "predictor"]

FROM serve AS serve-gpu
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=dependencies-serve-gpu /opt/venv /opt/venv
COPY --from=packages-serve /opt/sightline /opt/sightline
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sightline-serve-gpu" \
      org.opencontainers.image.description="A released bundle to answers, on GPUs" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM serve AS serve-cpu
COPY --from=dependencies-serve-cpu /opt/venv /opt/venv
COPY --from=packages-serve /opt/sightline /opt/sightline
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sightline-serve-cpu" \
      org.opencontainers.image.description="A released bundle to answers, on CPUs" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
