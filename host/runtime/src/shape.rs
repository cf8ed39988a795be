//! How large the parts of a component are, looked at before anything of it is compiled.
//!
//! What a compiler takes grows faster than a component does: with the targets of a jump times the values that it passes on,
//! say. A megabyte can be made to take gigabytes and minutes that way; what compilers write stays far below these bounds.

use wasmparser::{BlockType, CompositeInnerType, FunctionBody, Operator, Parser, Payload};

use crate::Unfit;
use crate::compiling::invalid_code;

/// How large a component and its parts may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of the component.
    pub component: usize,
    /// Functions of all its modules.
    pub functions: u32,
    /// Bytes of a function.
    pub function: usize,
    /// Parameters of a function or block, and results.
    pub values: usize,
    /// Local variables of a function.
    pub locals: u32,
    /// Targets of all `br_table` instructions of a function.
    pub targets: u32,
    /// Blocks in one another.
    pub depth: usize,
    /// Blocks in one another that pass several values on.
    pub passing: usize,
    /// Blocks in one another times local variables: each variable may be another one in each block.
    pub variables: usize,
}

impl Shape {
    /// What a component may be that a tenant brings along. An interpreter of a scripting language fits.
    pub const OF_TENANTS: Self = Self {
        component: 32 << 20,
        functions: 50_000,
        function: 256 << 10,
        values: 32,
        locals: 10_000,
        targets: 16_384,
        depth: 4096,
        passing: 64,
        variables: 1_000_000,
    };

    /// Makes sure that a component is not larger. Reads it once, in time that grows with its size.
    pub(crate) fn check(&self, wasm: &[u8]) -> Result<(), Unfit> {
        within("it", "bytes", wasm.len(), self.component)?;
        let mut functions: u32 = 0;
        let mut bodies: u32 = 0;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.map_err(invalid_code)? {
                Payload::TypeSection(groups) => {
                    for group in groups {
                        for type_ in group.map_err(invalid_code)?.types() {
                            if let CompositeInnerType::Func(function) = &type_.composite_type.inner {
                                within(
                                    "a function type",
                                    "parameters",
                                    function.params().len(),
                                    self.values,
                                )?;
                                within(
                                    "a function type",
                                    "results",
                                    function.results().len(),
                                    self.values,
                                )?;
                            }
                        }
                    }
                }
                Payload::FunctionSection(section) => {
                    functions = functions.saturating_add(section.count());
                    within("it", "functions", functions as usize, self.functions as usize)?;
                }
                Payload::CodeSectionEntry(body) => {
                    self.function(&format!("function {bodies} of its code"), &body)?;
                    bodies = bodies.saturating_add(1);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn function(&self, what: &str, body: &FunctionBody<'_>) -> Result<(), Unfit> {
        within(what, "bytes", body.range().len(), self.function)?;
        let mut locals: u32 = 0;
        for group in body.get_locals_reader().map_err(invalid_code)? {
            let (count, _) = group.map_err(invalid_code)?;
            locals = locals.saturating_add(count);
        }
        within(what, "local variables", locals as usize, self.locals as usize)?;
        let mut targets: u32 = 0;
        // For each block that is open whether it passes several values on. The function itself is the first one.
        let mut open = vec![false];
        let (mut depth, mut passing, mut deepest_passing) = (0, 0, 0);
        for operator in body.get_operators_reader().map_err(invalid_code)? {
            match operator.map_err(invalid_code)? {
                Operator::BrTable { targets: more } => targets = targets.saturating_add(more.len()),
                Operator::End => {
                    if open.pop().unwrap_or_default() {
                        passing -= 1;
                    }
                }
                operator => {
                    let Some(type_) = begun(&operator) else {
                        continue;
                    };
                    let passes = matches!(type_, BlockType::FuncType(_));
                    passing += usize::from(passes);
                    deepest_passing = deepest_passing.max(passing);
                    depth = depth.max(open.len());
                    within(what, "blocks in one another", depth, self.depth)?;
                    open.push(passes);
                }
            }
        }
        within(
            what,
            "targets of br_table",
            targets as usize,
            self.targets as usize,
        )?;
        within(
            what,
            "blocks of several values in one another",
            deepest_passing,
            self.passing,
        )?;
        within(
            what,
            "local variables times blocks in one another",
            depth.saturating_mul(locals as usize),
            self.variables,
        )
    }
}

/// The type of the block that an instruction begins.
fn begun(operator: &Operator<'_>) -> Option<BlockType> {
    match operator {
        Operator::Block { blockty }
        | Operator::Loop { blockty }
        | Operator::If { blockty }
        | Operator::Try { blockty } => Some(*blockty),
        Operator::TryTable { try_table } => Some(try_table.ty),
        _ => None,
    }
}

fn within(what: &str, of: &str, count: usize, most: usize) -> Result<(), Unfit> {
    if count <= most {
        return Ok(());
    }
    Err(Unfit::Compiler(format!(
        "{what} has {count} {of}, and components of tenants may have {most}: split it, or have an administrator install it"
    )))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SMALL: Shape = Shape {
        component: 4096,
        functions: 3,
        function: 200,
        values: 2,
        locals: 5,
        targets: 8,
        depth: 4,
        passing: 2,
        variables: 9,
    };

    fn said(module: &str) -> Option<String> {
        let wasm = wat::parse_str(format!("(component (core module {module}))")).expect("component text");
        SMALL.check(&wasm).err().map(|unfit| unfit.to_string())
    }

    #[rstest]
    #[case::nothing("")]
    #[case::just_so(
        "(type (func (param i32 i32) (result i32 i32)))
         (func (local i32 i32) (local i64 i64 i64) (block) (block))
         (func (local i32 i32) (block (loop (if (i32.const 0) (then (block))) (block))))
         (func (br_table 0 0 0 0 0 0 0 0 0 (i32.const 0)))"
    )]
    fn what_is_small_is_fine(#[case] module: &str) {
        assert_eq!(said(module), None);
    }

    #[rstest]
    #[case::functions(
        "(func) (func) (func) (func)",
        "it has 4 functions, and components of tenants may have 3"
    )]
    #[case::parameters("(type (func (param i32 i32 i32)))", "a function type has 3 parameters")]
    #[case::results("(type (func (result i32 i32 i32)))", "a function type has 3 results")]
    #[case::locals(
        "(func) (func (local i32 i32 i32) (local i64 i64 i64))",
        "function 1 of its code has 6 local variables"
    )]
    #[case::targets(
        "(func (br_table 0 0 0 0 0 0 (i32.const 0)) (br_table 0 0 0 0 0 (i32.const 0)))",
        "function 0 of its code has 9 targets of br_table"
    )]
    #[case::depth(
        "(func (block (loop (if (i32.const 0) (then (block (block)))))))",
        "function 0 of its code has 5 blocks in one another"
    )]
    #[case::passing(
        "(func (block (param) (result i32 i32) (block (param) (result i32 i32) (block (param) (result i32 i32)
           (i32.const 0) (i32.const 0)))) drop drop)",
        "function 0 of its code has 3 blocks of several values in one another"
    )]
    #[case::variables(
        "(func (local i32 i32 i32 i32 i32) (block (block)))",
        "function 0 of its code has 10 local variables times blocks in one another"
    )]
    fn what_is_too_large_is_said(#[case] module: &str, #[case] expected: &str) {
        let said = said(module);
        assert!(
            said.as_ref().is_some_and(|said| said.starts_with(expected)),
            "{said:?}"
        );
    }

    #[test]
    fn long_functions_and_components_are_said() {
        let long = format!("(func {})", "nop ".repeat(300));
        assert!(
            said(&long).is_some_and(|said| said.contains("bytes, and components of tenants may have 200"))
        );
        let data = format!("(memory 1) (data (i32.const 0) \"{}\")", "x".repeat(5000));
        assert!(said(&data).is_some_and(|said| said.starts_with("it has ")));
    }
}
