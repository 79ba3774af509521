//! The certification client on our library.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use bus::client::Connection;

use crate::certification::{Client, Test10, Test10Parameters, Test11, Test11Parameters};

/// Goes through the whole certification with the server at `path`.
///
/// # Errors
/// What the server did not accept, or what it should not have said.
pub fn certify(path: &Path) -> Result<()> {
    let mut client = Client(Connection::at(path)?);
    let id = client.start()?.client_id.into_owned();
    let bool = client.test01(&id)?.bool;
    let int = client.test02(&id, bool)?.int;
    let float = client.test03(&id, int)?.float;
    let string = client.test04(&id, float)?.string.into_owned();
    let five = client.test05(&id, &string)?;
    let (bool, int, float, string) = (five.bool, five.int, five.float, five.string.into_owned());
    let six = client.test06(&id, bool, int, float, &string)?.r#struct;
    let seven = crate::certification::Test07ParametersStruct {
        bool: six.bool,
        int: six.int,
        float: six.float,
        string: six.string.into_owned().into(),
    };
    let map = client.test07(&id, seven)?.map;
    let map = map.into_iter().map(|(key, value)| (key, value.into_owned().into())).collect();
    let set = client.test08(&id, map)?.set;
    let nine = serde_json::to_string(&client.test09(&id, set)?.mytype)?;
    let mytype = serde_json::from_str(&nine)?;
    let parameters = Test10Parameters { client_id: id.as_str().into(), mytype };
    let mut replies = client.0.more::<Test10>(&parameters)?;
    let mut strings = Vec::new();
    while let Some(reply) = replies.next_reply() {
        strings.push(reply?.string.into_owned());
    }
    let last_more_replies = strings.iter().map(|s| s.as_str().into()).collect();
    let parameters = Test11Parameters { client_id: id.as_str().into(), last_more_replies };
    drop(replies);
    client.0.oneway::<Test11>(&parameters)?;
    ensure!(client.end(&id).context("End")?.all_ok, "not all was well");
    Ok(())
}
