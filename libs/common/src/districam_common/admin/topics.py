"""`districam-topics apply | list`."""

import argparse
import sys
from collections.abc import Sequence

from districam_common.admin.run import EXIT_NOT_DONE, CommandSettings, add_wait, run
from districam_common.contract import names
from districam_common.kafka import topics
from districam_common.kafka.connection import open_admin_client


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="districam-topics", description="Create and list districam's Kafka topics.")
    actions = parser.add_subparsers(dest="action", required=True)
    for action, text in (
        ("apply", "create missing topics and alter those that differ from the declaration"),
        ("list", "print the existing topics"),
    ):
        add_wait(actions.add_parser(action, help=text, description=text))
    args = parser.parse_args(argv)
    return run("districam-topics", apply if args.action == "apply" else print_list, wait_s=args.wait)


async def apply(settings: CommandSettings) -> int:
    """Creates and alters the topics as declared, and prints the changes. Exit code 1 if some are refused."""
    wanted = topics.declared_topics(settings.topics)
    async with open_admin_client(settings.kafka, "districam-topics") as admin:
        found = await topics.describe_topics(admin, wanted, settings.kafka.request_timeout_s)
        plan = topics.plan(wanted, found)
        await topics.apply(admin, plan, found, settings.kafka.request_timeout_s)
    for line in topics.format_plan(plan):
        print(line, file=sys.stderr if line.startswith("refused") else sys.stdout)
    if plan.is_empty:
        print(f"nothing to do: {len(wanted)} topics are as declared")
    return EXIT_NOT_DONE if plan.refusals else 0


async def print_list(settings: CommandSettings) -> int:
    """Prints each declared topic with its current configuration on the broker."""
    wanted = topics.declared_topics(settings.topics)
    async with open_admin_client(settings.kafka, "districam-topics") as admin:
        found = await topics.describe_topics(admin, wanted, settings.kafka.request_timeout_s)
    for topic in wanted:
        there = found.get(topic.name)
        if there is None:
            print(f"{topic.name}: missing")
            continue
        values = " ".join(f"{key}={there.configs.get(key, '?')}" for key in topic.configs)
        print(f"{topic.name}: partitions={there.partitions} replicas={there.replication_factor} {values}")
        if topic.name == names.FRAGMENTS and (line := topics.format_capacity(there.configs)):
            print(f"  {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
