# sprint-sgl on SGLang's own image, with the image's CUDA libraries, torch and kernels.
#
#   docker build -t sprint-sgl .
#   docker run --gpus all --ipc=host -p 8000:8000 -e SPRINT_SERVE_KEYS=KEY -v $PWD/work:/work sprint-sgl \
#       --model /work/sprint-7b --runtime a100
FROM lmsysorg/sglang:v0.5.23

WORKDIR /opt/sprint-sgl
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY sprint_sgl sprint_sgl
COPY programs programs
COPY curation curation
COPY training training
COPY conf conf
COPY models models
# The image has sglang and torch in the versions that we pin; this package itself has no version to pin.
# hadolint ignore=DL3013
RUN python3 -m pip install --no-cache-dir ".[serve]"

EXPOSE 8000
HEALTHCHECK --start-period=10m --interval=30s --timeout=10s \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=8)"]
# The server refuses to start without SPRINT_SERVE_KEYS on an address that other machines can reach.
ENTRYPOINT ["sprint-sgl", "serve", "--host", "0.0.0.0"]
