"""A client in Python as KEDA is one: it knows externalscaler.proto alone, and asks how many agents are wanted.

Usage: keda.py HOST:PORT WANTED, where WANTED is the least number of agents that the policy keeps.
"""

import sys
import time

import grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from externalscaler import externalscaler_pb2, externalscaler_pb2_grpc

CALL_S = 30
# The manager looks at the fleet once a second.
FIRST_LOOK_S = 30


def main():
    address, wanted = sys.argv[1], int(sys.argv[2])
    scaled = externalscaler_pb2.ScaledObjectRef(
        name="agents", namespace="default", scalerMetadata={"scalerAddress": address}
    )
    with grpc.insecure_channel(address) as channel:
        stub = externalscaler_pb2_grpc.ExternalScalerStub(channel)
        spec = stub.GetMetricSpec(scaled, timeout=CALL_S).metricSpecs
        assert len(spec) == 1 and spec[0].targetSize == 1, spec
        request = externalscaler_pb2.GetMetricsRequest(scaledObjectRef=scaled, metricName=spec[0].metricName)
        deadline = time.monotonic() + FIRST_LOOK_S
        while True:
            try:
                values = stub.GetMetrics(request, timeout=CALL_S).metricValues
                if values[0].metricValue == wanted or time.monotonic() > deadline:
                    break
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                    raise
            time.sleep(0.2)
        assert len(values) == 1 and values[0].metricName == spec[0].metricName, values
        assert values[0].metricValue == wanted, f"{values[0].metricValue} agents are wanted, not {wanted}"
        assert stub.IsActive(scaled, timeout=CALL_S).result
        stream = stub.StreamIsActive(scaled, timeout=CALL_S)
        assert next(stream).result
        stream.cancel()
        services = ProtoReflectionDescriptorDatabase(channel).get_services()
        assert "externalscaler.ExternalScaler" in services, services
    print(f"ok keda: {wanted} agents are wanted")


main()
