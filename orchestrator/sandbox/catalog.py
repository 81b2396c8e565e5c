"""What the emulated region offers: images, their names in the parameter store, instance types, addresses.

Imported before moto, whose settings are environment variables that it reads once.
"""

from __future__ import annotations

import copy
import datetime
import json
import os
import random
import socket
from pathlib import Path
from typing import Any

from . import lookups, sshd

REGION = "us-west-2"
ACCOUNT = "123456789012"

IMAGES: tuple[dict[str, Any], ...] = (
    {
        "ami_id": "ami-0d1a5e6f7b8c9d0e1",
        "name": "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04) 20250601",
        "description": "Emulated: Ubuntu 22.04 with the NVIDIA driver",
        "owner_id": "898082745236",
    },
    {
        "ami_id": "ami-0c2b3a4d5e6f70819",
        "name": "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-20250601",
        "description": "Emulated: Canonical, Ubuntu, 22.04 LTS, amd64 jammy image",
        "owner_id": "099720109477",
    },
)

PARAMETERS = {
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id": IMAGES[0]["ami_id"],
    "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id": IMAGES[1]["ami_id"],
}

_SHAPES = {
    "p2.xlarge": (4, 61, "K80", 1, 12),
    "p2.8xlarge": (32, 488, "K80", 8, 12),
    "p2.16xlarge": (64, 732, "K80", 16, 12),
    "p3.2xlarge": (8, 61, "V100", 1, 16),
    "p3.8xlarge": (32, 244, "V100", 4, 16),
    "p3.16xlarge": (64, 488, "V100", 8, 16),
}
"""vCPUs, GiB of memory, GPU, how many, GiB each: retired from moto's list, not from people's lives."""


def settle(folder: Path) -> None:
    """Tell moto, before it is imported, to check what EC2 checks and to load only our images."""
    images = folder / "images.json"
    common = {
        "architecture": "x86_64",
        "boot_mode": "uefi-preferred",
        "creation_date": "2025-06-01T00:00:00.000Z",
        "hypervisor": "xen",
        "image_type": "machine",
        "public": True,
        "root_device_name": "/dev/sda1",
        "root_device_type": "ebs",
        "state": "available",
        "virtualization_type": "hvm",
    }
    images.write_text(json.dumps([{**common, **image} for image in IMAGES]))
    os.environ["MOTO_AMIS_PATH"] = str(images)
    for checked in ("ENABLE_AMI", "ENABLE_KEYPAIR", "EC2_ENABLE_INSTANCE_TYPE"):
        os.environ[f"MOTO_{checked}_VALIDATION"] = "true"


def stock() -> None:
    """Add to moto what it lacks."""
    _add_types()
    _add_parameters()
    from moto.ec2.models import elastic_ip_addresses, elastic_network_interfaces

    # Its own takes any of 127/8, 127.0.0.1 and one that is already in use among them.
    vars(elastic_ip_addresses)["random_ip"] = free_address
    # Of an instance that has no elastic one.
    vars(elastic_network_interfaces)["random_public_ip"] = free_address
    lookups.complete()


def free_address() -> str:
    """An address of 127/8, none of those in common use, on which nobody answers SSH yet."""
    while True:
        address = f"127.{random.randint(2, 254)}.{random.randint(0, 255)}.{random.randint(1, 254)}"
        if not _taken(address):
            return address


def _taken(address: str) -> bool:
    from moto.ec2.models import ec2_backends

    backends = list(ec2_backends[ACCOUNT].values())
    given: list[Any] = [known for backend in backends for known in (*backend.addresses, *backend.enis.values())]
    if any(known.public_ip == address for known in given):
        return True
    with socket.socket() as probe:
        try:
            probe.bind((address, sshd.PORT))
        except OSError:
            return True
    return False


def _add_types() -> None:
    from moto.ec2.models import instance_types as known

    for name, (cpus, memory, gpu, count, gpu_memory) in _SHAPES.items():
        if name in known.INSTANCE_TYPES:
            continue
        shape = copy.deepcopy(known.INSTANCE_TYPES["g4dn.xlarge"])
        shape.update(InstanceType=name, Hypervisor="xen", CurrentGeneration=False, InstanceStorageSupported=False)
        shape["SupportedBootModes"] = ["legacy-bios"]
        shape.pop("InstanceStorageInfo", None)
        shape["MemoryInfo"] = {"SizeInMiB": memory * 1024}
        shape["VCpuInfo"].update(DefaultVCpus=cpus, DefaultCores=cpus // 2, ValidCores=[cpus // 2])
        card = {"Count": count, "Manufacturer": "NVIDIA", "Name": gpu, "MemoryInfo": {"SizeInMiB": gpu_memory * 1024}}
        shape["GpuInfo"] = {"Gpus": [card], "TotalGpuMemoryInMiB": count * gpu_memory * 1024}
        known.INSTANCE_TYPES[name] = shape
        known.InstanceTypeBackend.instance_types.append(known.InstanceType(name))
        for offered in known.INSTANCE_TYPE_OFFERINGS.values():
            places = offered[REGION]
            like = [dict(one) for one in places if one["InstanceType"] == "g4dn.xlarge"]
            places.extend({**one, "InstanceType": name} for one in like)


def _add_parameters() -> None:
    from moto.ssm import models

    parameter: Any = models.Parameter

    store = models.ssm_backends[ACCOUNT][REGION]._parameters
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    for name, value in PARAMETERS.items():
        about = {"description": None, "allowed_pattern": None, "keyid": None, "version": 1, "data_type": "text"}
        store[name] = [parameter(ACCOUNT, name, value, "String", last_modified_date=now, **about)]
