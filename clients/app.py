"""The Flower ClientApp: `clients.app:app`. It answers a job with a report; the ids of its clients ride in the job."""

from __future__ import annotations

import os
import time

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from clients.host import worker_for
from server.records import pack_report, unpack_job

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train and evaluate the clients that the job names."""
    started = time.perf_counter()
    os.chdir(str(context.run_config.get("cwd", "")) or ".")  # Flower starts its nodes in a folder of its own
    job = unpack_job(message.content)
    unpacked = time.perf_counter() - started
    worker = worker_for(job.key, job.scenario, job.inputs)
    worker.context.vectors.recycle()  # the last report has left
    report = worker.run(job)
    report.metrics["move_seconds"] = unpacked
    return Message(pack_report(report, in_place=bool(context.run_config.get("moved"))), reply_to=message)
