"""Images and snapshots of an instance's disk: pending for a moment, tagged as asked, and holding what was on it."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from moto.ec2.models import ec2_backends

from . import wsgi
from .catalog import ACCOUNT
from .instances import Instances
from .wsgi import Call, Forward, Handler, Refusal, Reply


class Images:
    """Copies lie in `folder/SNAPSHOT_ID`. Every method but `step` is called with the instances' lock held."""

    def __init__(self, instances: Instances, folder: Path) -> None:
        self._instances = instances
        self._folder = folder
        self._copying: dict[str, tuple[Any, Any, Future[None], float]] = {}
        self._copiers = ThreadPoolExecutor(max_workers=4)
        instances.seed = self._seed

    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateImage": self._create_image,
            "CopyImage": self._copy_image,
            "CreateSnapshot": self._create_snapshot,
            "DeleteSnapshot": self._delete_snapshot,
        }

    def step(self) -> None:
        """Complete what has been copied."""
        with self._instances.lock:
            for snapshot_id, (snapshot, image, copy, due) in list(self._copying.items()):
                if time.monotonic() < due or not copy.done():
                    continue
                del self._copying[snapshot_id]
                snapshot.status = "completed"
                if image is not None:
                    image.state = "available"

    def _create_image(self, call: Call, forward: Forward) -> Reply:
        backend = ec2_backends[ACCOUNT][call.region]
        instance = self._instances.get(call.params.get("InstanceId", ""))
        if instance is None:
            return forward()
        name = call.params.get("Name", "")
        _refuse_taken(backend, name)
        if instance._state.name not in ("running", "stopped"):
            raise Refusal("IncorrectState", f"The instance '{instance.id}' is not in the 'running' or 'stopped' state.")
        image = backend.create_image(instance.id, name, call.params.get("Description", ""), [])
        image.state, image.boot_mode, image.root_device_type = "pending", instance.boot_mode, "ebs"
        image.root_device_name = instance.root_device_name
        image.ebs_snapshot.volume.size = _root_size(instance)
        _tag(call, image)
        if instance._state.name == "running" and call.params.get("NoReboot") != "true":
            self._instances.reboot(instance.id)
        self._copy(self._instances.disk(instance.id).root, image.ebs_snapshot, image)
        return wsgi.ec2_answer(call.action, f"<imageId>{image.id}</imageId>")

    def _copy_image(self, call: Call, forward: Forward) -> Reply:
        """From another region, or the same: an image of its own, whose name there is free."""
        backend = ec2_backends[ACCOUNT][call.region]
        region, named = call.params.get("SourceRegion", ""), call.params.get("SourceImageId", "")
        source = ec2_backends[ACCOUNT][region].amis.get(named) if region in ec2_backends[ACCOUNT] else None
        if source is None:
            return forward()
        if source.state != "available":
            raise Refusal("InvalidAMIID.Unavailable", f"The image ID '{named}' is currently not available")
        name = call.params.get("Name", "")
        _refuse_taken(backend, name)
        image = backend.copy_image(named, region, name, call.params.get("Description", ""))
        image.state, image.boot_mode, image.root_device_type = "pending", source.boot_mode, "ebs"
        image.root_device_name = source.root_device_name
        image.ebs_snapshot.volume.size = source.ebs_snapshot.volume.size
        image.ebs_snapshot.encrypted = call.params.get("Encrypted") == "true"
        _tag(call, image)
        self._copy(self._folder / source.ebs_snapshot.id, image.ebs_snapshot, image)
        return wsgi.ec2_answer(call.action, f"<imageId>{image.id}</imageId>")

    def _create_snapshot(self, call: Call, forward: Forward) -> Reply:
        backend = ec2_backends[ACCOUNT][call.region]
        before = set(backend.snapshots)
        reply = forward()
        volume = backend.volumes.get(call.params.get("VolumeId", ""))
        for snapshot_id in set(backend.snapshots) - before:
            if volume is not None and volume.attachment:
                disk = self._instances.disk(volume.attachment.instance.id)
                self._copy(disk.root, backend.snapshots[snapshot_id], None)
        return reply.replaced(reply.body.replace(b"<status>completed<", b"<status>pending<"))

    def _delete_snapshot(self, call: Call, forward: Forward) -> Reply:
        reply = forward()
        if reply.good:
            name = Path(call.params["SnapshotId"]).name
            _, _, copy, _ = self._copying.pop(name, (None, None, None, 0.0))
            # One that is still being written goes when its writer has ended.
            self._copiers.submit(_remove, self._folder / name, copy)
        return reply

    def _copy(self, source: Path, snapshot: Any, image: Any | None) -> None:
        snapshot.status = "pending"
        copy = self._copiers.submit(self._instances.copier.copy, source, self._folder / snapshot.id)
        self._copying[snapshot.id] = snapshot, image, copy, time.monotonic() + self._instances.delay

    def _seed(self, instance: Any) -> Path | None:
        """The copy that a new instance's disk begins with."""
        image = instance.ec2_backend.amis.get(instance.image_id)
        copy = self._folder / image.ebs_snapshot.id if image else None
        return copy if copy and copy.exists() else None


def _remove(folder: Path, copy: Future[None] | None) -> None:
    if copy is not None:
        copy.cancel() or copy.exception()
    shutil.rmtree(folder, ignore_errors=True)


def _refuse_taken(backend: Any, name: str) -> None:
    if any(image.name == name for image in backend.amis.values()):
        raise Refusal("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by another AMI.")


def _tag(call: Call, image: Any) -> None:
    image.add_tags(call.tags("image"))
    image.ebs_snapshot.add_tags(call.tags("snapshot"))


def _root_size(instance: Any) -> int:
    mapping = dict(instance.get_block_device_mapping)
    root = mapping.get(instance.root_device_name) or next(iter(mapping.values()), None)
    return int(root.size) if root is not None and root.size else 8
