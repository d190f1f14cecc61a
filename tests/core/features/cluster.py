"""A cluster of three embedded servers, without replicas."""

import subprocess
import time
from pathlib import Path

import redis

from fraud_core.free_ports import free_ports
from fraud_core.log.valkey import valkey_command, wait_ready

SLOTS = 16384


def start_cluster(folder: Path) -> tuple[list[subprocess.Popen[bytes]], list[int]]:
    """Start it and return when all slots are served: processes, ports."""
    free, processes = free_ports(6), []
    ports, buses = (
        free[:3],
        free[3:],
    )  # by itself a node talks to others 10,000 ports above: taken, or no port at all
    for port, bus in zip(ports, buses, strict=True):
        home = folder / str(port)
        home.mkdir()
        command = [
            *valkey_command(home, port, appendfsync="no"),
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            str(bus),
        ]
        processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    for place, port in enumerate(ports):
        wait_ready(f"redis://127.0.0.1:{port}/0")
        with redis.Redis(port=port) as node:
            first, last = SLOTS * place // 3, SLOTS * (place + 1) // 3 - 1
            node.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.execute_command("CLUSTER", "SET-CONFIG-EPOCH", place + 1)
    with redis.Redis(port=ports[0]) as node:
        for port, bus in zip(ports[1:], buses[1:], strict=True):
            node.execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus)
    deadline = time.monotonic() + 60
    for port in ports:
        with redis.Redis(port=port) as node:
            while (
                "cluster_state:ok" not in node.execute_command("CLUSTER", "INFO").decode()
                or len(node.execute_command("CLUSTER", "NODES").decode().split("\n")) < 4
            ):
                assert time.monotonic() < deadline, "the cluster did not form"
                time.sleep(0.05)
    return processes, ports


def stop_cluster(processes: list[subprocess.Popen[bytes]]) -> None:
    """End its servers."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(20)
