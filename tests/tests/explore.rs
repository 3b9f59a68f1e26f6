//! `graver explore` in a browser: a kernel can be clicked and shows five views, a pass can be switched off, nothing goes wrong.
//!
//! Needs Chromium; where there is none, the tests say so and pass.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::sync::{Arc, Mutex};

use graver::driver::{CompileOptions, Loaded, Part};
use graver::explore::{About, Explorer, measure, page, view};
use graver::spec::{self, SpecSource};
use graver::summary::{Machine, summarize};
use graver_serve::http::LocalPage;
use graver_tests::browser::{browse, browser};
use graver_tests::{load_preset, load_shapes};
use serde_json::Value;

/// The five views of a kernel.
const VIEWS: [&str; 5] = ["origins", "said", "cost", "clif", "asm"];

fn about(name: &str, loaded: &Loaded, timed: bool) -> About {
    let machine = Some(Machine {
        gbps: 20.0,
        gflops: 100.0,
    });
    let options = CompileOptions::native().unwrap();
    About::of(name, &summarize(name, loaded, &options, machine), timed)
}

/// The document after its scripts and `reader` have run, and nothing was wrong.
fn read(browser: &str, html: &str, reader: &str, size: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    let with_reader = format!("<script>{reader}</script></body>");
    std::fs::write(&file, html.replace("</body>", &with_reader)).unwrap();
    let window = format!("--window-size={size}");
    let url = format!("file://{}", file.display());
    let (dom, log) = browse(browser, &[&window, "--virtual-time-budget=10000"], &url);
    nothing_wrong(&log);
    assert!(
        dom.contains("data-ready=\"yes\""),
        "the page was not drawn\n{log}"
    );
    dom
}

fn nothing_wrong(log: &str) {
    let errors: Vec<_> = log.lines().filter(|l| l.contains("CONSOLE")).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// The contents of each view.
fn views(dom: &str) -> Vec<&str> {
    let of = |kind: &&str| {
        let mark = format!("data-view=\"{kind}\"");
        let after = dom
            .split(&mark)
            .nth(1)
            .unwrap_or_else(|| panic!("no view {kind}"));
        after.split("</section>").next().unwrap_or_default()
    };
    VIEWS.iter().map(of).collect()
}

#[test]
fn a_kernel_that_is_clicked_shows_five_views() {
    let Some(browser) = browser() else {
        eprintln!(
            "skipped: a_kernel_that_is_clicked_shows_five_views: no chromium on this machine"
        );
        return;
    };
    let spec = spec::load(SpecSource::Builtin("deepseek_v3")).unwrap();
    let loaded = load_shapes(&spec, &spec.preset("671b").unwrap(), None).unwrap();
    let options = CompileOptions::native().unwrap();
    let html = page(
        &about("a </script> & b", &loaded, false),
        &view((&loaded, Part::whole()), &options).unwrap(),
        None,
    );
    let click = "const all = [...document.querySelectorAll('.kernel')];\
        all.find(k => k.textContent.includes('moe.gate+up')).click();";
    for size in ["1500,1200", "390,840"] {
        let dom = read(browser, &html, click, size);
        assert!(dom.contains("<h1>a &lt;/script&gt; &amp; b</h1>"));
        assert!(
            dom.contains("× 58 layers"),
            "{size}: kinds of layers do not show"
        );
        assert_eq!(dom.matches("aria-current=\"true\"").count(), 1, "{size}");
        let views = views(&dom);
        assert!(views[0].contains("grouped_matmul"), "{}", views[0]);
        assert!(views[1].contains("expert-block"), "{}", views[1]);
        assert!(
            views[2].contains("operations a byte") && views[2].contains("<svg"),
            "{}",
            views[2]
        );
        assert!(
            views[3].contains("kernels.matmul_bf16"),
            "{size}: no names in the code"
        );
        assert!(views[4].contains("data-a=\"0\""), "{size}: no machine code");
        // Without anybody who compiles, passes are a legend.
        assert!(dom.contains("data-pass=\"expert-block\"") && dom.contains("disabled"));
    }
}

#[test]
fn a_pass_that_is_switched_off_changes_graph_code_and_times() {
    let Some(browser) = browser() else {
        eprintln!(
            "skipped: a_pass_that_is_switched_off_changes_graph_code_and_times: no chromium on this machine"
        );
        return;
    };
    let spec = spec::load(SpecSource::Builtin("llama")).unwrap();
    let loaded = load_preset(&spec, "tiny", 0, None).unwrap();
    let explorer = Explorer {
        about: about("llama tiny", &loaded, true).live(),
        loaded: Arc::new(loaded),
        part: Part::whole(),
        options: CompileOptions::native().unwrap(),
        threads: 1,
        measuring: Mutex::new(()),
    };
    // What a reader does.
    let reader =
        "<script>document.querySelector('[data-pass=qkv-epilogue]').click();</script></body>";
    let answering = Arc::new(move |path: &str, query: &str| {
        let mut answer = explorer.answer(path, query);
        if path == "/" {
            answer.body = answer.body.replace("</body>", reader);
        }
        answer
    });
    let page = LocalPage::start(0, false, answering).unwrap();
    let url = format!("http://{}/", page.address());
    let options = [
        "--window-size=1400,1100",
        "--timeout=20000",
        "--virtual-time-budget=60000",
    ];
    let (dom, log) = browse(browser, &options, &url);
    nothing_wrong(&log);
    assert!(
        dom.contains("data-compiled=\"qkv-epilogue\""),
        "nothing was compiled\n{log}"
    );
    assert!(
        dom.contains("data-timed=\"yes\""),
        "nothing was timed\n{log}"
    );
    let chip = dom.split("data-pass=\"qkv-epilogue\"").nth(1).unwrap();
    assert!(
        chip.split('>')
            .next()
            .unwrap()
            .contains("aria-pressed=\"false\""),
        "{chip:.300}"
    );
    let totals = dom
        .split("id=\"totals\"")
        .nth(1)
        .unwrap()
        .split("</dl>")
        .next()
        .unwrap();
    assert!(
        totals.contains("<small>+") && totals.contains("measured"),
        "{totals}"
    );
    let spine = dom.split("id=\"spine\"").nth(1).unwrap();
    assert!(
        spine.contains("<b>attention.cache</b>"),
        "the graph is the old one"
    );
    assert!(
        views(&dom)[2].contains("measured, median"),
        "{}",
        views(&dom)[2]
    );
}

/// What is asked for is answered, and nonsense refused in words.
#[test]
fn an_explorer_answers_and_refuses() {
    let spec = spec::load(SpecSource::Builtin("llama")).unwrap();
    let loaded = load_preset(&spec, "tiny", 0, None).unwrap();
    let explorer = Explorer {
        about: about("llama tiny", &loaded, false).live(),
        loaded: Arc::new(loaded),
        part: Part::whole(),
        options: CompileOptions::native().unwrap(),
        threads: 1,
        measuring: Mutex::new(()),
    };
    let asked = |path: &str, query: &str| {
        let answer = explorer.answer(path, query);
        (answer.status, answer.body)
    };
    let kernels = |query: &str| {
        let (status, body) = asked("/view", query);
        assert_eq!(status, 200, "{body}");
        let view: Value = serde_json::from_str(&body).unwrap();
        view["programs"][0]["counts"]["kernels"].as_u64().unwrap()
    };
    assert!(kernels("off=qkv-epilogue,norm-prologue") > kernels("off=norm-prologue"));
    assert!(kernels("off=norm-prologue") > kernels(""));
    let (status, said) = asked("/view", "off=norm-prolog");
    assert_eq!(status, 400);
    assert!(
        said.starts_with("no pass named `norm-prolog` (did you mean `norm-prologue`?)"),
        "{said}"
    );
    assert_eq!(asked("/view", "without=x").0, 400);
    assert_eq!(asked("/times", "").0, 404, "its weights are not to be run");
    assert_eq!(asked("/elsewhere", "").0, 404);
}

/// Each rank has kernels of its own shapes, and meets the others; times are those of the rank.
#[test]
fn a_rank_is_shown_and_timed() {
    let spec = spec::load(SpecSource::Builtin("llama")).unwrap();
    let loaded = Arc::new(load_preset(&spec, "tiny", 0, None).unwrap());
    let options = CompileOptions::native().unwrap();
    let seen = |ranks: usize, rank: usize| {
        let division = ranks.into();
        let part = Part { division, rank };
        let view = view((&loaded, part), &options).unwrap();
        let view = serde_json::to_value(&view).unwrap();
        let times = measure((&loaded, part), &options, 1).unwrap();
        (view, serde_json::to_value(&times).unwrap())
    };
    let kernels = |view: &Value| -> Vec<(String, String)> {
        let blocks = view["programs"][0]["blocks"].as_array().unwrap().iter();
        let kernels = blocks.flat_map(|b| b["kernels"].as_array().unwrap());
        let text = |k: &Value, key: &str| k[key].as_str().unwrap().to_string();
        kernels.map(|k| (text(k, "op"), text(k, "shape"))).collect()
    };
    let (whole, _) = seen(1, 0);
    assert!(!kernels(&whole).iter().any(|(op, _)| op == "all_reduce"));
    for rank in [0, 1] {
        let (view, times) = seen(2, rank);
        let own = kernels(&view);
        assert!(own.iter().any(|(op, _)| op == "all_reduce"), "{own:?}");
        assert_ne!(own, kernels(&whole));
        let timed = times["programs"][0]["kernels"].as_array().unwrap();
        assert_eq!(timed.len(), own.len(), "rank {rank}");
        let took = |k: &Value| k["median_ns"].as_u64().unwrap() > 0;
        assert!(timed.iter().any(took), "rank {rank}: {times}");
    }
    let part = Part {
        division: 2.into(),
        rank: 2,
    };
    let said = view((&loaded, part), &options).unwrap_err().to_string();
    assert_eq!(said, "--rank 2: expected 0 to 1");
}
