//! The page that shows the calls from Python: its files are those of the example, and every block of it runs.

use std::process::Command;

use sdk_test::c::done;
use sdk_test::page::Page;
use sdk_test::world::World;
use sdk_test::{grantable, tree};

#[test]
fn page_names_every_method_and_its_helper_is_the_examples() {
    let page = Page::read().unwrap();
    for name in grantable() {
        let (interface, method) = name.rsplit_once('.').unwrap();
        assert!(page.text.contains(&format!("\"{name}\"")), "the page has no call of {name}");
        assert!(
            page.grants().any(|line| line.starts_with(&format!("\"{interface}\"")) && line.contains(method)),
            "the page has no manifest line for {name}"
        );
    }
    let helper = std::fs::read_to_string(tree("sdk/examples/python/thermostat/gabion.py")).unwrap();
    assert_eq!(page.file("gabion.py").unwrap(), helper);
}

#[test]
fn page_runs_block_by_block_and_makes_every_call() {
    let page = Page::read().unwrap();
    let place = tempfile::tempdir().unwrap();
    for (name, text) in page.files() {
        std::fs::write(place.path().join(name), text).unwrap();
    }
    std::fs::write(place.path().join("main.py"), page.program()).unwrap();
    let world = World::new().unwrap();
    let python = |file: &str| -> Command {
        let mut python = world.command("python3");
        python.args(["-u", "-B"]).arg(place.path().join(file));
        python
    };
    let mut sensor = python("sensor.py").spawn().unwrap();
    let said = done(&mut python("main.py"));
    sensor.kill().unwrap();
    sensor.wait().unwrap();
    let said = said.unwrap();
    println!("{said}");
    assert_eq!(world.system.called(), grantable());
    for line in ["Gabion 0.1.0", "nothing is pending", "20.5 degrees", "com.example.Temperature.NoSuchRoom"] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    assert!(world.folder("data").join("history").is_file());
}

#[test]
fn server_of_the_page_refuses_what_is_not_granted() {
    let page = Page::read().unwrap();
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("sensor.py"), page.file("sensor.py").unwrap()).unwrap();
    std::fs::write(place.path().join("gabion.py"), page.file("gabion.py").unwrap()).unwrap();
    std::fs::write(
        place.path().join("main.py"),
        "import gabion\nfor method in 'Watch', 'Nothing':\n  try:\n    gabion.call('com.example.Temperature.' + method)\n  \
         except gabion.Failed as error:\n    print(error.name, error.parameters)\n",
    )
    .unwrap();
    let granted = [("com.example.Temperature".to_owned(), "Get".to_owned())];
    let world = World::granting(&granted).unwrap();
    let mut sensor = world.command("python3").arg(place.path().join("sensor.py")).spawn().unwrap();
    let said = done(world.command("python3").arg("-u").arg(place.path().join("main.py")));
    sensor.kill().unwrap();
    sensor.wait().unwrap();
    assert_eq!(
        said.unwrap(),
        "org.varlink.service.PermissionDenied {'method': 'com.example.Temperature.Watch', 'manifest_line': \
         '[uses] \"com.example.Temperature\" = [\"Watch\"]'}\n\
         org.varlink.service.PermissionDenied {'method': 'com.example.Temperature.Nothing', 'manifest_line': \
         '[uses] \"com.example.Temperature\" = [\"Nothing\"]'}\n"
    );
}
