# Build: the locked packages and the service in one virtual environment.
FROM python:3.11-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/bps
COPY requirements/base.txt /src/requirements/base.txt
RUN /opt/bps/bin/pip install --require-hashes -r /src/requirements/base.txt
COPY pyproject.toml README.md /src/
COPY app /src/app
COPY migrations /src/migrations
RUN /opt/bps/bin/pip install --no-deps /src

# Run: that environment and nothing else; one image is API, worker and migration.
FROM python:3.11-slim-bookworm

RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin bps
# A volume that is mounted here for photos belongs to the service.
RUN install -d -o bps -g bps /var/lib/bps/photos
COPY --from=build /opt/bps /opt/bps
ENV PATH="/opt/bps/bin:$PATH" PYTHONUNBUFFERED=1 PHOTO_DIR=/var/lib/bps/photos
USER bps
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["uvicorn", "app.main:create_app", "--factory", "--host", "0.0.0.0", "--port", "8000", "--no-access-log"]
