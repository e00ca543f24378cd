"""A client in Python, against nothing but the files in proto/. Each `check_` function is one check of its own.

Usage: client.py HOST:PORT, while agent.py serves the same coordinator.
"""

import queue
import sys
import time
import traceback
import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from evenkeel.v1 import cluster_pb2, cluster_pb2_grpc, task_pb2, task_pb2_grpc, types_pb2

# No call and no wait of these checks takes longer unless something is wrong.
CALL_S = 30
WAIT_MS = 20_000


class Cluster:
    """The stubs, and shorthand for what the checks do often."""

    def __init__(self, channel):
        self.channel = channel
        self.tasks = task_pb2_grpc.TaskServiceStub(channel)
        self.cluster = cluster_pb2_grpc.ClusterServiceStub(channel)

    def submit(self, *specs):
        answer = self.tasks.Submit(task_pb2.SubmitRequest(tasks=specs), timeout=CALL_S)
        return [result.task_id for result in answer.results]

    def wait(self, *task_ids):
        request = task_pb2.WaitRequest(task_ids=task_ids, timeout_ms=WAIT_MS)
        answer = self.tasks.Wait(request, timeout=CALL_S)
        assert not answer.pending_task_ids, f"still pending: {answer.pending_task_ids}"
        return list(answer.finished)

    def get(self, task_id):
        request = task_pb2.GetRequest(task_id=task_id, include_attempts=True)
        return self.tasks.Get(request, timeout=CALL_S).task

    def refused(self, call, request):
        """The status and details of a call that has to fail."""
        try:
            answer = call(request, timeout=CALL_S)
        except grpc.RpcError as error:
            return error.code(), details(error)
        raise AssertionError(f"it was answered: {answer}")


def details(error):
    """The google.rpc details of an error, by the name of their type."""
    status = rpc_status.from_call(error)
    found = {}
    for packed in status.details if status else []:
        for kind in (error_details_pb2.BadRequest, error_details_pb2.ResourceInfo, error_details_pb2.RetryInfo):
            message = kind()
            if packed.Unpack(message):
                found[kind.__name__] = message
    return found


def spec(kind, payload=b"", **fields):
    return types_pb2.TaskSpec(kind=kind, payload=payload, **fields)


def until(condition, what):
    """Asks again until it holds; a bound, not a guess at how long it takes."""
    deadline = time.monotonic() + WAIT_MS / 1000
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.02)


def check_health(cluster):
    stub = health_pb2_grpc.HealthStub(cluster.channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=CALL_S)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING, answer


def check_reflection(cluster):
    stub = reflection_pb2_grpc.ServerReflectionStub(cluster.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answer = next(iter(stub.ServerReflectionInfo(iter([request]), timeout=CALL_S)))
    names = {service.name for service in answer.list_services_response.service}
    wanted = {f"evenkeel.v1.{name}" for name in ("AgentService", "TaskService", "ClusterService")}
    assert wanted <= names, names
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol="evenkeel.v1.TaskService")
    answer = next(iter(stub.ServerReflectionInfo(iter([request]), timeout=CALL_S)))
    assert answer.file_descriptor_response.file_descriptor_proto, answer


def check_submit_and_wait(cluster):
    ids = cluster.submit(*(spec("py/upper", f"word {n}".encode()) for n in range(20)))
    finished = cluster.wait(*ids)
    assert [end.task_id for end in finished] == ids, "not in the order asked"
    assert [end.output for end in finished] == [f"WORD {n}".encode() for n in range(20)]
    assert all(end.state == types_pb2.TASK_STATE_SUCCEEDED for end in finished), finished
    assert all(end.agent_id == "python-1" for end in finished), finished


def check_execute(cluster):
    request = task_pb2.ExecuteRequest(task=spec("py/upper", b"now"), wait_timeout_ms=WAIT_MS)
    assert cluster.tasks.Execute(request, timeout=CALL_S).finished.output == b"NOW"


def check_stream_with_results(cluster):
    batch = task_pb2.SubmitStreamRequest(batch_id=7, tasks=[spec("py/upper", b"s")] * 5, want_results=True)
    requests = queue.SimpleQueue()
    requests.put(batch)
    call = cluster.tasks.SubmitStream(iter(requests.get, None), timeout=CALL_S)
    ids, outputs = None, {}
    for response in call:
        if response.HasField("batch"):
            assert response.batch.batch_id == 7
            ids = [result.task_id for result in response.batch.results]
        outputs.update((end.task_id, end.output) for end in response.finished)
        if ids is not None and len(outputs) == 5:
            break
    requests.put(None)
    assert outputs == dict.fromkeys(ids, b"S"), outputs


def check_same_key_same_task(cluster):
    key = str(uuid.uuid4())
    request = task_pb2.SubmitRequest(tasks=[spec("py/upper", b"once", idempotency_key=key)])
    first = cluster.tasks.Submit(request, timeout=CALL_S).results[0]
    again = cluster.tasks.Submit(request, timeout=CALL_S).results[0]
    assert (again.task_id, again.duplicate) == (first.task_id, True), again
    other = task_pb2.SubmitRequest(tasks=[spec("py/upper", b"twice", idempotency_key=key)])
    code, _ = cluster.refused(cluster.tasks.Submit, other)
    assert code == grpc.StatusCode.ALREADY_EXISTS, code


def check_failure(cluster):
    (end,) = cluster.wait(*cluster.submit(spec("py/fail")))
    assert end.state == types_pb2.TASK_STATE_FAILED, end
    assert (end.failure.message, end.failure.exit_code, end.attempts_made) == ("failed as asked", 3, 1), end


def check_cancel_running(cluster):
    (task_id,) = cluster.submit(spec("py/hold"))
    until(lambda: cluster.get(task_id).state == types_pb2.TASK_STATE_RUNNING, "the task runs")
    request = task_pb2.CancelRequest(task_id=task_id, reason="interop")
    assert cluster.tasks.Cancel(request, timeout=CALL_S).state == types_pb2.TASK_STATE_CANCELLED
    (end,) = cluster.wait(task_id)
    assert end.state == types_pb2.TASK_STATE_CANCELLED, end
    # The slot is free again only if the agent was told to stop and has stopped.
    cluster.wait(*cluster.submit(*(spec("py/upper", b"x") for _ in range(4))))


def check_cancel_queued_and_explain(cluster):
    (task_id,) = cluster.submit(spec("py/nobody-takes-it"))
    explanation = cluster.tasks.Explain(task_pb2.ExplainRequest(task_id=task_id), timeout=CALL_S)
    assert explanation.state == types_pb2.TASK_STATE_QUEUED, explanation
    assert "py/nobody-takes-it" in explanation.waiting_for + explanation.summary, explanation
    request = task_pb2.CancelRequest(task_id=task_id)
    assert cluster.tasks.Cancel(request, timeout=CALL_S).state == types_pb2.TASK_STATE_CANCELLED


def check_list_by_pages(cluster):
    tenant = f"interop-{uuid.uuid4()}"
    ids = cluster.submit(*(spec("py/upper", b"p", tenant=tenant) for _ in range(7)))
    cluster.wait(*ids)
    listed, token = [], ""
    while True:
        request = task_pb2.ListRequest(tenant=tenant, page_size=3, page_token=token)
        page = cluster.tasks.List(request, timeout=CALL_S)
        assert len(page.tasks) <= 3, page
        listed += [task.task_id for task in page.tasks]
        token = page.next_page_token
        if not token:
            break
    assert sorted(listed) == sorted(ids), (listed, ids)
    request = task_pb2.ListRequest(tenant=tenant, states=[types_pb2.TASK_STATE_FAILED])
    assert not cluster.tasks.List(request, timeout=CALL_S).tasks


def check_watch_from_the_beginning(cluster):
    (task_id,) = cluster.submit(spec("py/upper", b"w"))
    cluster.wait(task_id)
    call = cluster.tasks.Watch(task_pb2.WatchRequest(task_ids=[task_id]), timeout=CALL_S)
    seen, position = [], 0
    for event in call:
        assert event.position > position, "positions grow"
        position = event.position
        seen.append(event.type)
        if event.type == task_pb2.TASK_EVENT_TYPE_FINISHED:
            break
    call.cancel()
    assert seen[0] == task_pb2.TASK_EVENT_TYPE_ACCEPTED, seen


def check_errors_carry_details(cluster):
    request = task_pb2.GetRequest(task_id=str(uuid.uuid4()))
    code, found = cluster.refused(cluster.tasks.Get, request)
    assert code == grpc.StatusCode.NOT_FOUND, code
    assert found["ResourceInfo"].resource_name == request.task_id, found
    code, found = cluster.refused(cluster.tasks.Submit, task_pb2.SubmitRequest(tasks=[spec("not a kind")]))
    assert code == grpc.StatusCode.INVALID_ARGUMENT, code
    (violation,) = found["BadRequest"].field_violations
    assert violation.field.endswith("kind"), violation


def check_agents(cluster):
    agents = cluster.cluster.ListAgents(cluster_pb2.ListAgentsRequest(kind="py/upper"), timeout=CALL_S).agents
    assert [agent.agent_id for agent in agents] == ["python-1"], agents
    assert agents[0].labels["language"] == "python", agents


def main(address):
    checks = [(name, check) for name, check in globals().items() if name.startswith("check_")]
    failed = 0
    with grpc.insecure_channel(address) as channel:
        grpc.channel_ready_future(channel).result(timeout=CALL_S)
        cluster = Cluster(channel)
        for name, check in checks:
            try:
                check(cluster)
                print(f"ok      {name}", flush=True)
            except Exception:  # one broken check does not hide the others
                failed += 1
                print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
    print(f"interop: {len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
