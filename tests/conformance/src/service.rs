//! The certification service on our library: what each call brings must be what the one before was answered with.

use std::collections::{BTreeMap, HashMap};

use bus::interface::{Empty, Method};
use bus::server::{Answer, Call};
use serde_json::{Value, json};

use crate::certification::*;

/// Runs under way, each with the number of the test that comes next: 12 is `End`.
#[derive(Debug, Default)]
pub struct Service {
    runs: HashMap<String, u32>,
    started: u32,
}

const PI: f64 = std::f64::consts::PI;
const TEXT: &str = "a lot of string";

/// What is wrong with a call.
type Wrong = Error;

impl Service {
    /// Whether this call is the one that comes now and brings what it must.
    fn check(&mut self, id: &str, number: u32, wants: Value, got: Value) -> Result<(), Wrong> {
        let next = self.runs.get_mut(id).ok_or(Error::ClientIdError {})?;
        if *next != number || wants != got {
            self.runs.remove(id);
            return Err(Error::CertificationError { wants, got });
        }
        *next += 1;
        Ok(())
    }
}

fn answer<M: Method<Error = Error>>(
    call: Call<'_, M>,
    checked: Result<(), Wrong>,
    reply: &M::Reply<'_>,
) -> Answer {
    match checked {
        Ok(()) => call.reply(reply),
        Err(wrong) => call.fail(&wrong),
    }
}

fn many() -> Value {
    json!({ "bool": false, "int": 2, "float": PI, "string": TEXT })
}

fn map() -> BTreeMap<String, std::borrow::Cow<'static, str>> {
    [("foo", "Foo"), ("bar", "Bar")].map(|(k, v)| (k.to_owned(), v.into())).into()
}

fn set() -> BTreeMap<String, Empty> {
    ["one", "two", "three"].map(|k| (k.to_owned(), Empty {})).into()
}

fn my_type() -> MyType<'static> {
    let first = [("foo", InterfaceFoo::Foo), ("bar", InterfaceFoo::Bar)];
    let second = [("one", InterfaceFoo::Foo), ("two", InterfaceFoo::Bar)];
    let named = |list: [(&str, InterfaceFoo); 2]| Some(list.map(|(k, v)| (k.to_owned(), v)).into());
    MyType {
        object: json!({
            "method": "org.varlink.certification.Test09",
            "parameters": { "map": { "foo": "Foo", "bar": "Bar" } }
        }),
        r#enum: MyTypeEnum::Two,
        r#struct: MyTypeStruct { first: 1, second: "2".into() },
        array: ["one", "two", "three"].map(Into::into).into(),
        dictionary: map(),
        stringset: set(),
        nullable: None,
        nullable_array_struct: None,
        interface: Interface {
            foo: Some(vec![None, named(first), None, named(second)]),
            anon: InterfaceAnon { foo: true, bar: false },
        },
    }
}

impl Handler for Service {
    fn start(&mut self, call: Call<'_, Start>) -> Answer {
        self.started += 1;
        let id = format!("run-{}", self.started);
        self.runs.insert(id.clone(), 1);
        call.reply(&StartReply { client_id: id.into() })
    }

    fn test01(&mut self, call: Call<'_, Test01>, p: Test01Parameters<'_>) -> Answer {
        let checked = self.check(&p.client_id, 1, Value::Null, Value::Null);
        answer(call, checked, &Test01Reply { bool: true })
    }

    fn test02(&mut self, call: Call<'_, Test02>, p: Test02Parameters<'_>) -> Answer {
        let checked = self.check(&p.client_id, 2, json!(true), json!(p.bool));
        answer(call, checked, &Test02Reply { int: 1 })
    }

    fn test03(&mut self, call: Call<'_, Test03>, p: Test03Parameters<'_>) -> Answer {
        let checked = self.check(&p.client_id, 3, json!(1), json!(p.int));
        answer(call, checked, &Test03Reply { float: 1.0 })
    }

    fn test04(&mut self, call: Call<'_, Test04>, p: Test04Parameters<'_>) -> Answer {
        let checked = self.check(&p.client_id, 4, json!(1.0), json!(p.float));
        answer(call, checked, &Test04Reply { string: "ping".into() })
    }

    fn test05(&mut self, call: Call<'_, Test05>, p: Test05Parameters<'_>) -> Answer {
        let checked = self.check(&p.client_id, 5, json!("ping"), json!(p.string));
        answer(call, checked, &Test05Reply { bool: false, int: 2, float: PI, string: TEXT.into() })
    }

    fn test06(&mut self, call: Call<'_, Test06>, p: Test06Parameters<'_>) -> Answer {
        let got = json!({ "bool": p.bool, "int": p.int, "float": p.float, "string": p.string });
        let checked = self.check(&p.client_id, 6, many(), got);
        let all = Test06ReplyStruct { bool: false, int: 2, float: PI, string: TEXT.into() };
        answer(call, checked, &Test06Reply { r#struct: all })
    }

    fn test07(&mut self, call: Call<'_, Test07>, p: Test07Parameters<'_>) -> Answer {
        let checked = self.check(&p.client_id, 7, many(), json!(p.r#struct));
        answer(call, checked, &Test07Reply { map: map() })
    }

    fn test08(&mut self, call: Call<'_, Test08>, p: Test08Parameters<'_>) -> Answer {
        let checked = self.check(&p.client_id, 8, json!(map()), json!(p.map));
        answer(call, checked, &Test08Reply { set: set() })
    }

    fn test09(&mut self, call: Call<'_, Test09>, p: Test09Parameters<'_>) -> Answer {
        let checked = self.check(&p.client_id, 9, json!(set()), json!(p.set));
        answer(call, checked, &Test09Reply { mytype: my_type() })
    }

    fn test10(&mut self, mut call: Call<'_, Test10>, p: Test10Parameters<'_>) -> Answer {
        if let Err(wrong) = self.check(&p.client_id, 10, json!(my_type()), json!(p.mytype)) {
            return call.fail(&wrong);
        }
        let reply = |n: u32| Test10Reply { string: format!("Reply number {n}").into() };
        (1..10).for_each(|n| call.push(&reply(n)));
        call.reply(&reply(10))
    }

    fn test11(&mut self, call: Call<'_, Test11>, p: Test11Parameters<'_>) -> Answer {
        let wants: Vec<String> = (1..=10).map(|n| format!("Reply number {n}")).collect();
        let wants = json!({ "oneway": true, "last_more_replies": wants });
        let got = json!({ "oneway": call.oneway(), "last_more_replies": p.last_more_replies });
        let checked = self.check(&p.client_id, 11, wants, got);
        answer(call, checked, &Empty {})
    }

    fn end(&mut self, call: Call<'_, End>, p: EndParameters<'_>) -> Answer {
        let checked = self.check(&p.client_id, 12, Value::Null, Value::Null);
        self.runs.remove(p.client_id.as_ref());
        answer(call, checked, &EndReply { all_ok: true })
    }
}
