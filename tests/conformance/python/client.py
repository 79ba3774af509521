"""Talks to os.gabion.Apps at the address given, and prints what it got as one JSON object."""

import json
import sys

import varlink

INTERFACE = "os.gabion.Apps"
ONE = "com.example.one"
got = {}


def error_of(call):
    try:
        return "no error: %s" % call()
    except varlink.VarlinkError as error:
        return {"error": error.error(), "parameters": error.parameters()}


with varlink.Client.new_with_address(sys.argv[1]) as client:
    with client.open("org.varlink.service") as service:
        got["info"] = service.GetInfo()
        got["description"] = service.GetInterfaceDescription(INTERFACE)["description"]
    with client.open(INTERFACE) as apps:
        got["ids"] = [app["id"] for app in apps.List()["apps"]]
        got["status"] = apps.GetStatus(ONE)["status"]
        got["unknown"] = error_of(lambda: apps.GetStatus("none"))
        got["start"] = apps.Start(ONE)
        got["long"] = len(apps.GetLog(ONE, 50000)["lines"][0]["text"])
        got["denied"] = error_of(lambda: apps.Stop(ONE))
        got["not_more"] = error_of(lambda: apps.FollowLog(ONE, 0))
        got["followed"] = list(apps.FollowLog(ONE, 0, _more=True))
        apps.Start(ONE, _oneway=True)
        got["still"] = len(apps.List()["apps"])
print(json.dumps(got))
