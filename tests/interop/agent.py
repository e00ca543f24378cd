"""An agent in Python, against nothing but the files in proto/.

It takes three kinds: `py/upper` answers its payload in upper case, `py/fail` fails for good, and `py/hold` runs until it
is cancelled. It ends in order on SIGTERM.

Usage: agent.py HOST:PORT
"""

import queue
import signal
import sys
import threading
import time
import uuid

import grpc

from evenkeel.v1 import agent_pb2, agent_pb2_grpc, types_pb2

SLOTS = 2
# Until the server has said how often it wants to hear of us.
HEARTBEAT_INTERVAL_S = 1.0


class Agent:
    """One session: what it has to say goes through `outgoing`, `None` ends it."""

    def __init__(self):
        self.outgoing = queue.SimpleQueue()
        self.cancelled = {}
        self.lock = threading.Lock()
        self.left = threading.Event()

    def say(self, **message):
        frame = agent_pb2.AgentFrame(messages=[agent_pb2.AgentMessage(**message)])
        self.outgoing.put(frame)

    def leave(self):
        self.left.set()
        self.say(draining=agent_pb2.Draining(reason="told to stop"))
        self.outgoing.put(None)

    def register(self):
        self.say(
            register=agent_pb2.Register(
                agent_id="python-1",
                instance_id=str(uuid.uuid4()),
                kinds=["py/upper", "py/fail", "py/hold"],
                labels={"language": "python"},
                capacity=types_pb2.Resources(slots=SLOTS),
                version="interop",
            )
        )

    def beat(self, interval_s):
        while not self.left.wait(interval_s):
            with self.lock:
                running = len(self.cancelled)
            self.say(heartbeat=agent_pb2.Heartbeat(cpu_share=0.1, memory_share=0.1, running_tasks=running))

    def obey(self, order):
        which = order.WhichOneof("message")
        if which == "welcome":
            interval_s = order.welcome.heartbeat_interval_ms / 1000
            threading.Thread(target=self.beat, args=(interval_s or HEARTBEAT_INTERVAL_S,), daemon=True).start()
        elif which == "assignment":
            with self.lock:
                self.cancelled[order.assignment.attempt.assignment_id] = threading.Event()
            threading.Thread(target=self.run, args=(order.assignment,), daemon=True).start()
        elif which == "cancel":
            with self.lock:
                event = self.cancelled.get(order.cancel.attempt.assignment_id)
            if event is not None:
                event.set()

    def run(self, assignment):
        attempt = assignment.attempt
        with self.lock:
            cancelled = self.cancelled[attempt.assignment_id]
        begin = time.monotonic()
        self.say(started=agent_pb2.AttemptStarted(attempt=attempt))
        outcome = self.execute(assignment, cancelled)
        run_us = int((time.monotonic() - begin) * 1e6)
        with self.lock:
            del self.cancelled[attempt.assignment_id]
        self.say(result=agent_pb2.AttemptResult(attempt=attempt, run_us=run_us, **outcome))

    def execute(self, assignment, cancelled):
        if assignment.kind == "py/upper":
            progress = agent_pb2.AttemptProgress(attempt=assignment.attempt, fraction=0.5, note="half-way")
            self.say(progress=progress)
            return {"success": agent_pb2.Success(output=assignment.payload.upper())}
        if assignment.kind == "py/hold":
            cancelled.wait()
            return {"cancelled": agent_pb2.Cancelled()}
        failure = types_pb2.Failure(
            **{"class": types_pb2.FAILURE_CLASS_NON_RETRYABLE}, message="failed as asked", exit_code=3
        )
        return {"failure": failure}


def main(address):
    agent = Agent()
    signal.signal(signal.SIGTERM, lambda *_: agent.leave())
    with grpc.insecure_channel(address) as channel:
        agent.register()
        stub = agent_pb2_grpc.AgentServiceStub(channel)
        try:
            for frame in stub.Session(iter(agent.outgoing.get, None)):
                for order in frame.messages:
                    agent.obey(order)
        except grpc.RpcError as error:
            if not agent.left.is_set():
                raise SystemExit(f"agent.py: the session broke: {error.code()}: {error.details()}") from error


if __name__ == "__main__":
    main(sys.argv[1])
