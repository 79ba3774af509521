//! Clients that nobody here wrote, on an interface of the system.

use anyhow::{Context, Result, ensure};
use bus::interfaces::apps;
use conformance::listen::{self, Served};
use conformance::manager::{FOLLOWED, Manager};
use conformance::python;
use serde_json::{Value, json};
use varlink::{Connection, MethodCall, OrgVarlinkServiceClient, OrgVarlinkServiceInterface};

/// Everything but `Stop`.
fn served() -> Result<Served> {
    let mut methods = listen::all(&apps::INTERFACE);
    methods.retain(|method| *method != "Stop");
    listen::serve(&apps::INTERFACE, apps::dispatch, &methods, Manager::default(), Manager::after)
}

const STOP_LINE: &str = "[uses] \"os.gabion.Apps\" = [\"Stop\"]";

#[test]
fn python_client_is_served() -> Result<()> {
    let served = served()?;
    let script = python::scripts().join("client.py");
    let output = python::python()?.arg(script).arg(&served.address).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let got: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(got["info"]["interfaces"], json!(["org.varlink.service", "os.gabion.Apps"]));
    assert_eq!(got["description"], apps::DESCRIPTION);
    assert_eq!(got["ids"], json!(["com.example.one", "com.example.two"]));
    assert_eq!(got["status"]["state"], "running");
    assert_eq!(got["status"].get("pid").unwrap_or(&Value::Null), &Value::Null);
    assert_eq!(got["unknown"], json!({"error": "os.gabion.Apps.AppNotFound", "parameters": {"app": "none"}}));
    assert_eq!(got["start"], json!({}));
    assert_eq!(got["long"], 50_000);
    let denied = json!({"method": "os.gabion.Apps.Stop", "manifest_line": STOP_LINE});
    assert_eq!(got["denied"], json!({"error": "org.varlink.service.PermissionDenied", "parameters": denied}));
    assert_eq!(got["not_more"]["error"], "org.varlink.service.ExpectedMore");
    let followed = got["followed"].as_array().context("no list")?;
    assert_eq!(followed.len(), usize::try_from(FOLLOWED)?);
    assert_eq!(followed[0]["lines"][0]["text"], "line 1: \"é\" \\ \t");
    assert_eq!(got["still"], 2);
    served.finish()
}

#[test]
fn rust_client_is_served() -> Result<()> {
    let served = served()?;
    let connection = Connection::with_address(&served.address).map_err(shown)?;
    let mut service = OrgVarlinkServiceClient::new(connection.clone());
    let info = service.get_info().map_err(shown)?;
    assert_eq!(info.interfaces, ["org.varlink.service", "os.gabion.Apps"]);
    let description = service.get_interface_description("os.gabion.Apps").map_err(shown)?;
    assert_eq!(description.description.as_deref(), Some(apps::DESCRIPTION));

    let call = |method: &str, parameters: Value| {
        let method = format!("os.gabion.Apps.{method}");
        MethodCall::<Value, Value, varlink::Error>::new(connection.clone(), method, parameters)
    };
    assert_eq!(call("List", json!({})).call().map_err(shown)?["apps"][1]["id"], "com.example.two");
    assert_eq!(call("Start", json!({"app": "a"})).call().map_err(shown)?, json!({}));
    call("Start", json!({"app": "a"})).oneway().map_err(shown)?;

    let denied = call("Stop", json!({"app": "a"})).call().err().context("it was allowed")?;
    let varlink::ErrorKind::VarlinkErrorReply(reply) = denied.kind() else { anyhow::bail!("{denied}") };
    assert_eq!(reply.error.as_deref(), Some("org.varlink.service.PermissionDenied"));
    assert_eq!(reply.parameters.as_ref().context("no parameters")?["manifest_line"], STOP_LINE);
    let missing = call("Nothing", json!({})).call().err().context("it was allowed")?;
    assert_eq!(missing.kind(), &varlink::ErrorKind::MethodNotFound("os.gabion.Apps.Nothing".to_owned()));
    let invalid = call("Start", json!({"ap": "a"})).call().err().context("it was allowed")?;
    assert_eq!(invalid.kind(), &varlink::ErrorKind::InvalidParameter("ap".to_owned()));

    let mut follow = call("FollowLog", json!({"app": "a", "lines": 0}));
    let replies: Vec<Value> = follow.more().map_err(shown)?.collect::<Result<_, _>>().map_err(shown)?;
    assert_eq!(replies.len(), usize::try_from(FOLLOWED)?);
    assert_eq!(replies[2]["skipped"], FOLLOWED);
    drop((service, follow, connection));
    served.finish()
}

fn shown(error: varlink::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:?}")
}
