# Three images: client for callers, without PyTorch; worker-cpu and worker-cuda. None holds weights.
# docs/deployment.md tells how to build and run them.

# the Python that constraints.txt was frozen on
FROM python:3.11-slim AS python

FROM python AS build
# pip's own settings: where packages come from, and where builds of PyTorch other than the default one do
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY constraints.txt .
# without pip: what is installed here stays as it is
RUN python -m venv --without-pip /opt/penstock

FROM build AS wheel
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt hatchling \
    && pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

FROM build AS client-install
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    --mount=type=cache,target=/root/.cache/pip \
    set -- /wheels/*.whl \
    && pip --python /opt/penstock/bin/python install --constraint constraints.txt "$1[cli,gateway,hiredis,images]"

FROM build AS worker-install
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    --mount=type=cache,target=/root/.cache/pip \
    set -- /wheels/*.whl \
    && pip --python /opt/penstock/bin/python install --constraint constraints.txt "$1[cli,hiredis,s3,standins,worker]"

# Whisper's CTranslate2 wants the cuBLAS of CUDA 12, PyTorch brings that of its own CUDA, which may be a later one
FROM worker-install AS cuda-install
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/penstock/bin/python install 'nvidia-cublas-cu12<13' \
    && /opt/penstock/bin/python -c 'import sys, torch; sys.exit(torch.version.cuda is None and "a CPU build of PyTorch")'

FROM python AS runtime
RUN groupadd --gid 10001 penstock \
    && useradd --no-log-init --uid 10001 --gid 10001 --create-home penstock
ENV PATH=/opt/penstock/bin:$PATH \
    PYTHONUNBUFFERED=1
STOPSIGNAL SIGTERM
ENTRYPOINT ["penstock"]

FROM runtime AS client
COPY --from=client-install /opt/penstock /opt/penstock
USER 10001:10001
CMD ["--help"]

FROM runtime AS worker
# a volume mounted here for the first time takes over the owner
RUN install --directory --owner=penstock --group=penstock /models
ENV HF_HOME=/models \
    MODELS_DIR=/models \
    PENSTOCK_HEALTH_HOST=0.0.0.0 \
    PENSTOCK_HEALTH_PORT=9464
EXPOSE 9464
HEALTHCHECK --interval=10s --timeout=5s --retries=3 --start-period=10m \
    CMD ["python", "-c", "import http.client, os; link = http.client.HTTPConnection('127.0.0.1', int(os.environ['PENSTOCK_HEALTH_PORT']), timeout=4); link.request('GET', '/readyz'); raise SystemExit(link.getresponse().status != 200)"]
USER 10001:10001
CMD ["worker"]

FROM worker AS worker-cpu
COPY --from=worker-install /opt/penstock /opt/penstock

FROM worker AS worker-cuda
COPY --from=cuda-install /opt/penstock /opt/penstock
ENV LD_LIBRARY_PATH=/opt/penstock/lib/python3.11/site-packages/nvidia/cublas/lib \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
