"""What MongoDB does to its clients, by its own fail points."""

import contextlib
from collections.abc import Callable
from typing import Any

import pymongo
from pymongo.errors import PyMongoError

from tests.faults.bench.fault import Fault, Scene, Undo


def _fail_point(times: int, commands: list[str], **data: Any) -> Callable[[Scene], Undo]:
    def do(scene: Scene) -> Undo:
        def arm(mode: Any) -> None:
            client: Any
            with pymongo.MongoClient(scene.host.url, appname="admin") as client:
                chosen = {"failCommands": commands, "appName": "cleanup-pipeline", **data}
                client.admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": chosen})

        arm({"times": times})

        def undo() -> None:
            with contextlib.suppress(PyMongoError):
                arm("off")

        return undo

    return do


_WRITES = ["delete", "update"]
_ALL = ["find", "delete", "update", "aggregate", "getMore", "insert"]
MONGO = [
    Fault("not_writable_primary", _fail_point(2, _WRITES, errorCode=10107), weight=3),
    Fault("primary_stepped_down", _fail_point(2, _ALL, errorCode=189), weight=2),
    Fault("shutdown_in_progress", _fail_point(2, _ALL, errorCode=91), weight=2),
    Fault("interrupted_at_shutdown", _fail_point(2, _ALL, errorCode=11600), weight=1),
    Fault("write_conflict", _fail_point(3, _WRITES, errorCode=112), weight=1),
    Fault("cursor_not_found", _fail_point(2, ["find", "getMore", "aggregate"], errorCode=43), weight=2),
    Fault("cursor_killed", _fail_point(2, ["find", "getMore", "aggregate"], errorCode=237), weight=2),
    Fault("closes_connection", _fail_point(2, _ALL, closeConnection=True), weight=3),
    Fault("slow_commands", _fail_point(3, _ALL, blockConnection=True, blockTimeMS=300), weight=2),
    Fault(
        "write_concern_timeout",
        _fail_point(2, _WRITES, writeConcernError={"code": 64, "errmsg": "waiting for replication timed out"}),
        weight=4,
    ),
    Fault(
        "write_concern_no_primary",
        _fail_point(2, _WRITES, writeConcernError={"code": 91, "errmsg": "Replication is being shut down"}),
        weight=2,
    ),
]
