"""Local servers for one machine: no root, no container, loopback only, data under one folder."""

from districam_devkit.servers.broker import Broker, BrokerWanted
from districam_devkit.servers.process import OnStep, Server, ServerUnavailable
from districam_devkit.servers.seaweedfs import S3
from districam_devkit.servers.together import Servers, all_running
from districam_devkit.servers.valkey import Redis

__all__ = [
    "S3",
    "Broker",
    "BrokerWanted",
    "OnStep",
    "Redis",
    "Server",
    "ServerUnavailable",
    "Servers",
    "all_running",
]
