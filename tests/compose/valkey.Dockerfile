# Replaces valkey/valkey: Debian's package.
ARG BASE
FROM ${BASE}
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends valkey-server valkey-tools \
 && rm -rf /var/lib/apt/lists/* && install -d -o valkey -g valkey /data
VOLUME ["/data"]
WORKDIR /data
CMD ["valkey-server"]
