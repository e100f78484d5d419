"""Shared by districam's services: the contract, the ledger, and the clients of Kafka, S3 and Redis."""
