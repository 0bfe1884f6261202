# neuron-signatures in a container; docs/docker.md.
#
#   docker build -t neuron-signatures --build-arg TORCH_INDEX=ADDRESS .     for the CPU
#   docker build -t neuron-signatures-cuda --build-arg BASE=nvidia/cuda:12.8.1-base-ubuntu24.04 .
#   docker build --target test -t neuron-signatures-test .           with what `make test` needs

# Debian or Ubuntu; Python 3.11 or newer comes with it or is installed below.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE} AS installed

# Where pip looks for torch beside PyPI, whose build brings gigabytes of CUDA libraries: for the CPU, the address of PyTorch's
# index of CPU builds. Empty takes the build of PyPI.
ARG TORCH_INDEX=
# Of the user, so that a folder of the host that is mounted belongs to the same one.
ARG UID=1000

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    LANG=C.UTF-8 PATH=/app/.venv/bin:$PATH

RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates make \
      $(python3 -c "import ensurepip, venv" 2>/dev/null || echo python3 python3-venv) \
 && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --non-unique --uid "$UID" neuron \
 && install --directory --owner=neuron --group=neuron /app /app/runs /home/neuron/.cache
USER neuron
WORKDIR /app

# The libraries first: they change less often than the code.
COPY --chown=neuron:neuron requirements.txt requirements-viewers.txt requirements-models.txt ./
RUN python3 -m venv .venv \
 && PIP_EXTRA_INDEX_URL="$TORCH_INDEX" .venv/bin/python -m pip install --quiet -r requirements.txt

COPY --chown=neuron:neuron . .
RUN make .venv/.installed

# Results, and what was downloaded or converted.
VOLUME ["/app/runs", "/home/neuron/.cache"]
EXPOSE 8600 8501

FROM installed AS test
RUN make .venv/.installed-dev
CMD ["make", "test"]

FROM installed AS demo
CMD ["make", "demo"]
