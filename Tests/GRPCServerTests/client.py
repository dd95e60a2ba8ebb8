"""What gRPC's own client for Python does with a server: one command for each test.

client.py COMMAND TARGET [ARGUMENT…]; prints what it got, one thing a line.
"""

import sys
import threading
import time

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)


def identity(value):
    return value


def method(channel, name):
    return channel.unary_unary(
        f"/test.Echo/{name}", request_serializer=identity, response_deserializer=identity
    )


def echo(channel):
    call = method(channel, "Now")
    print(call(b"hello").decode())
    # Several DATA frames.
    large = bytes(range(256)) * 200
    print(call(large) == large)
    # In many calls at once, on one connection.
    calls = [call.future(str(number).encode()) for number in range(2000)]
    print(sum(int(call.result()) for call in calls))


def errors(channel):
    def status(run):
        try:
            run()
            return "OK"
        except grpc.RpcError as error:
            return f"{error.code().name} {error.details()}"

    print(status(lambda: method(channel, "Nowhere")(b"")))
    print(status(lambda: method(channel, "Now")(b"x" * 65_537)))
    print(status(lambda: method(channel, "Check")(b"")))
    print(status(lambda: method(channel, "Now")(b"x" * 500, compression=grpc.Compression.Gzip)))
    print(status(lambda: method(channel, "Slow")(b"x", timeout=0.05)))
    print(status(lambda: method(channel, "Now")(b"x")))


def health(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ["", "test.Echo"]:
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
        print(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
    try:
        stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
    except grpc.RpcError as error:
        print(error.code().name)


def watch(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    for answer in stub.Watch(health_pb2.HealthCheckRequest(service="")):
        print(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status), flush=True)
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            return


def reflect(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    for service in database.get_services():
        print(service)
    pool = descriptor_pool.DescriptorPool(database)
    for name in [
        "envoy.service.ratelimit.v3.RateLimitService",
        "envoy.service.auth.v3.Authorization",
        "grpc.health.v1.Health",
    ]:
        service = pool.FindServiceByName(name)
        for rpc in service.methods:
            print(rpc.full_name, rpc.input_type.full_name, rpc.output_type.full_name)
    print(pool.FindMessageTypeByName("google.protobuf.Duration").full_name)


def load(channel):
    """Makes calls until its input ends, and prints how many failed for another reason than a refusal to begin."""
    call = method(channel, "Slow")
    done, failed, stop = [0], [], threading.Event()

    def run():
        while not stop.is_set():
            try:
                call(b"x", wait_for_ready=True, timeout=20)
                done[0] += 1
            except grpc.RpcError as error:
                failed.append(f"{error.code().name} {error.details()}")

    threads = [threading.Thread(target=run) for _ in range(16)]
    for thread in threads:
        thread.start()
    time.sleep(float(sys.argv[3]))
    stop.set()
    for thread in threads:
        thread.join()
    print(done[0] > 0)
    for text in failed:
        print(text)


def credentials():
    def read(path):
        with open(path, "rb") as file:
            return file.read()

    files = [read(path) for path in sys.argv[3:]]
    return grpc.ssl_channel_credentials(*files[:1], *(files[2:0:-1] if len(files) > 1 else []))


def tls(_):
    with grpc.secure_channel(sys.argv[2], credentials()) as channel:
        try:
            print(method(channel, "Now")(b"hello", timeout=10).decode())
        except grpc.RpcError as error:
            print(error.code().name)


command = globals()[sys.argv[1]]
with grpc.insecure_channel(sys.argv[2]) as the_channel:
    command(the_channel)
