"""Local servers for one machine: no root, no container, loopback only, data under one folder."""

from districam_devkit.servers.all_servers import Servers, all_running
from districam_devkit.servers.broker import Broker, BrokerOption
from districam_devkit.servers.process import OnStep, Server, ServerUnavailable
from districam_devkit.servers.seaweedfs import S3
from districam_devkit.servers.valkey import Redis

__all__ = ["S3", "Broker", "BrokerOption", "OnStep", "Redis", "Server", "ServerUnavailable", "Servers", "all_running"]
