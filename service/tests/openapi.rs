//! The service and its OpenAPI document, held against each other by the Python package `schemathesis`: whatever it asks, no
//! answer is a failure of the service, and each has a status, a type, headers and a body that the document names.
//!
//! It asks the same each time, as an operator who administers a catalog with a product and a group, so that there is something
//! to be found. The operation that would end its session is left out, and those of what this service is set up without: a
//! provider of people. They say 503, which the judge takes for a failure.

#[expect(dead_code, reason = "it is the API tests' support, of which this uses a part")]
mod support;

#[path = "../../tests/conformance/src/python.rs"]
#[expect(dead_code, unreachable_pub, reason = "it is a library of its own, of which this uses a part")]
mod python;

use anyhow::{Result, ensure};
use serde_json::json;
use support::actors::{catalog, text};
use support::{Site, runtime, sqlite};

/// Chosen examples of each operation, beside those that try each bound of its description.
const EXAMPLES: &str = "2";
const LEFT_OUT: &str = "^/v1/sessions/current$|oidc";
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";

#[test]
fn service_asked_by_its_document_answers_as_that_says() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // Others' work goes on while this thread waits for the judge.
    let runtime = runtime()?;
    let site = runtime.block_on(Site::start(&sqlite(folder.path())))?;
    let token = runtime.block_on(async {
        let client = site.client()?;
        let session = client.post("/v1/sessions", json!({"code": site.code})).await?.json(201)?;
        let token = text(&session["token"])?;
        catalog(&client.with_token(&token), "one").await?;
        anyhow::Ok(token)
    })?;
    let root = folder.path().join("root.pem");
    std::fs::write(&root, site.root_pem())?;
    let mut judge = python::with_schemathesis()?;
    judge.args(["-m", "schemathesis.cli", "run"]);
    judge.arg(format!("https://localhost:{}/openapi.json", site.running.address.port()));
    judge.arg("--tls-verify").arg(&root).args(["--header", &format!("Authorization: Bearer {token}")]);
    judge.args([
        "--phases",
        "coverage,fuzzing",
        "--max-examples",
        EXAMPLES,
        "--seed",
        "1",
        "--checks",
        CHECKS,
    ]);
    judge.args(["--exclude-path-regex", LEFT_OUT, "--no-color"]);
    judge.args(["--continue-on-failure", "--warnings", "off"]).current_dir(folder.path());
    let output = judge.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let number = |word| said.lines().find_map(|line| line.trim().strip_prefix(word)).map(str::trim);
    let selected = number("Selected:").and_then(|all| all.split('/').next());
    ensure!(selected.is_some() && selected == number("Tested:"), "not every operation was asked: {said}");
    runtime.block_on(site.running.stop());
    Ok(())
}
