# Only what measures: numpy, onnxruntime and one file. Builds for amd64 and arm64.
# docker build -f docker/runner.Dockerfile -t edgeprune-runner .
# docker run --rm -v "$PWD/runs/NAME":/models:ro edgeprune-runner /models/dense.onnx /models/pruned.onnx
FROM python:3.12-slim
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 ORT_DISABLE_TELEMETRY=1
RUN pip install numpy onnxruntime && useradd --create-home runner
COPY deploy/runner.py /opt/runner.py
USER runner
ENTRYPOINT ["python", "/opt/runner.py"]
