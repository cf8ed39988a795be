//! Size limits for the parts of a component, checked before it is compiled.
//!
//! The resources of a compilation can grow faster than the component: for example with the number of targets of a jump times
//! the number of values that it passes. A crafted component of a megabyte can take gigabytes and minutes. The output of
//! usual compilers stays far below these limits.

use wasmparser::{BlockType, CompositeInnerType, FunctionBody, Operator, Parser, Payload};

use crate::LoadErrorKind;

/// Size limits for a component and its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Size of the component, in bytes.
    pub component: usize,
    /// Number of functions of all modules.
    pub functions: u32,
    /// Size of a function's body, in bytes.
    pub function: usize,
    /// Number of parameters, and of results, of a function or block.
    pub values: usize,
    /// Number of local variables of a function.
    pub locals: u32,
    /// Number of targets of all `br_table` instructions of a function.
    pub targets: u32,
    /// Number of nested blocks.
    pub depth: usize,
    /// Number of nested blocks that pass several values.
    pub passing: usize,
    /// Number of nested blocks times the number of local variables: each variable may have another value in each block.
    pub variables: usize,
}

impl Shape {
    /// Limits for a component of a tenant. They suffice for an interpreter of a scripting language.
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

    /// Returns an error if a component exceeds a limit. Reads it once, in time linear in its size.
    pub(crate) fn check(&self, wasm: &[u8]) -> Result<(), LoadErrorKind> {
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

    /// Returns an error if a function, named `what` in messages, exceeds a limit.
    fn function(&self, what: &str, body: &FunctionBody<'_>) -> Result<(), LoadErrorKind> {
        within(what, "bytes", body.range().len(), self.function)?;
        let mut locals: u32 = 0;
        for group in body.get_locals_reader().map_err(invalid_code)? {
            let (count, _) = group.map_err(invalid_code)?;
            locals = locals.saturating_add(count);
        }
        within(what, "local variables", locals as usize, self.locals as usize)?;
        let mut targets: u32 = 0;
        // True for each open block that passes several values. The function itself is the first block.
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
                    let Some(type_) = block_type(&operator) else {
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

/// Returns the type of the block that an instruction begins, or `None` if it begins none.
fn block_type(operator: &Operator<'_>) -> Option<BlockType> {
    match operator {
        Operator::Block { blockty }
        | Operator::Loop { blockty }
        | Operator::If { blockty }
        | Operator::Try { blockty } => Some(*blockty),
        Operator::TryTable { try_table } => Some(try_table.ty),
        _ => None,
    }
}

/// Returns an error if `count` is larger than `most`. The message names the part `what` and the counted items `of`.
fn within(what: &str, of: &str, count: usize, most: usize) -> Result<(), LoadErrorKind> {
    if count <= most {
        return Ok(());
    }
    Err(LoadErrorKind::Compiler(format!(
        "{what} has {count} {of}, and components of tenants may have {most}: split it, or have an administrator install it"
    )))
}

/// Returns the error for code that can't be parsed.
fn invalid_code(error: wasmparser::BinaryReaderError) -> LoadErrorKind {
    LoadErrorKind::Invalid(error.to_string())
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

    fn refusal(module: &str) -> Option<String> {
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
    fn accepts_small_components(#[case] module: &str) {
        assert_eq!(refusal(module), None);
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
    fn names_the_part_that_is_too_large(#[case] module: &str, #[case] expected: &str) {
        let refusal = refusal(module);
        assert!(
            refusal
                .as_ref()
                .is_some_and(|refusal| refusal.starts_with(expected)),
            "{refusal:?}"
        );
    }

    #[test]
    fn rejects_long_functions_and_components() {
        let long = format!("(func {})", "nop ".repeat(300));
        assert!(
            refusal(&long)
                .is_some_and(|refusal| refusal.contains("bytes, and components of tenants may have 200"))
        );
        let data = format!("(memory 1) (data (i32.const 0) \"{}\")", "x".repeat(5000));
        assert!(refusal(&data).is_some_and(|refusal| refusal.starts_with("it has ")));
    }
}
