# Replaces apache/kafka: Apache Kafka's jars from Maven on Debian's Java, started as in that image.
ARG BASE
FROM ${BASE}
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends openjdk-21-jre-headless \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 1000 --no-create-home appuser \
 && install -d -o appuser /opt/kafka/config /var/lib/kafka/data
COPY jars /opt/kafka/libs
COPY kafka-entry /usr/local/bin/kafka-entry
USER appuser
VOLUME ["/var/lib/kafka/data"]
CMD ["kafka-entry"]
