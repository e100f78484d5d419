"""Kafka: the producer, the group consumer, the topics, on aiokafka."""
