//! Tests of plans for observations with existing objects in various states.

use dask_operator_golden_tests::files;
use dask_operator_golden_tests::logics::{self, Logics};
use dask_operator_golden_tests::observations::{ObservationFile, text};

#[test]
fn plans_match_the_golden_files() {
    let (native, components) = (
        logics::native(),
        logics::components().expect("the components load"),
    );
    let checked = files::check("observations", "plans", |input| {
        let name = input.display();
        let plan = |logics: &Logics| {
            let file = std::fs::read_to_string(input).expect("a file");
            let file: ObservationFile =
                serde_saphyr::from_str(&file).unwrap_or_else(|e| panic!("{name}: {e}"));
            let logic = logics.of(file.kind().expect("a kind"));
            let declared = logic.child_kinds("{}").expect("kinds");
            logic
                .plan(&file.observation(declared).expect("an observation"))
                .expect("an answer")
        };
        let (native, components) = (plan(&native), plan(&components));
        assert_eq!(native, components, "{name}: native code and components differ");
        text(&native).expect("text")
    });
    checked.unwrap_or_else(|failures| panic!("{failures}"));
}
