# Replaces prom/prometheus: Debian's package.
ARG BASE
FROM ${BASE}
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends prometheus && rm -rf /var/lib/apt/lists/* \
 && install -d -o 65534 -g 65534 /prometheus
USER 65534
VOLUME ["/prometheus"]
ENTRYPOINT ["prometheus"]
