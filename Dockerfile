# syntax=docker/dockerfile:1

FROM python:3.12-slim-bookworm AS build
WORKDIR /src
# Every package of the lock is fetched as a wheel and checked against its hash; nothing is fetched after this.
COPY requirements.lock ./
RUN pip wheel --no-cache-dir --no-deps --only-binary :all: --require-hashes \
      --wheel-dir /wheels --requirement requirements.lock
COPY pyproject.toml README.md ./
COPY detectors detectors
COPY deploy deploy
COPY stream stream
COPY haltline haltline
# Only what haltline itself needs leaves the wheels; tests, linters and plots stay behind. The result has no pip.
RUN python -m venv --without-pip /opt/haltline \
 && pip --python /opt/haltline/bin/python install --no-cache-dir --no-index --find-links /wheels .

FROM python:3.12-slim-bookworm
RUN groupadd --gid 10001 haltline \
 && useradd --uid 10001 --gid haltline --home-dir /var/lib/haltline --create-home --shell /usr/sbin/nologin haltline
COPY --from=build /opt/haltline /opt/haltline
ENV PATH=/opt/haltline/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/tmp/numba
USER 10001:10001
# What a worker keeps on disk; all of it can be rebuilt from Kafka.
WORKDIR /var/lib/haltline
VOLUME ["/var/lib/haltline"]
EXPOSE 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/healthz', timeout=4)"]
ENTRYPOINT ["haltline"]
CMD ["worker"]
