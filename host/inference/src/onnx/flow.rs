//! What follows from how the operators of a graph stand on each other.
//!
//! Names are all that is looked at: no operator is checked, and none is run. Nothing here recurses,
//! and nothing assumes that the file lists its operators in an order in which they can run.

use std::collections::{HashMap, HashSet};

/// An operator (`NodeProto`).
pub struct Operator<'a> {
    /// Its name, if it is of the standard's own domain for tensors or of that for classic models.
    pub kind: Option<Kind<'a>>,
    /// By position; one that is left out has an empty name.
    pub inputs: Vec<&'a str>,
    /// By position, too.
    pub outputs: Vec<&'a str>,
    /// What its subgraphs take from around them.
    pub captures: Vec<&'a str>,
    /// The longest chain in its subgraphs; more than zero if it has any.
    pub inside: usize,
}

/// An operator of the standard.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind<'a> {
    /// Of `ai.onnx`.
    Tensors(&'a str),
    /// Of `ai.onnx.ml`.
    Classic(&'a str),
}

/// A graph as names.
#[derive(Default)]
pub struct Flow<'a> {
    pub operators: Vec<Operator<'a>>,
    /// Initializers.
    pub constants: HashSet<&'a str>,
    pub inputs: Vec<&'a str>,
    pub outputs: Vec<&'a str>,
}

/// What follows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Extent {
    /// The most operators of which each needs the one before, with those of subgraphs.
    pub longest_chain: usize,
    /// The most terms of a sum, or factors of a product, once those that are sums or products
    /// themselves are written out. Adding a value to itself doubles it.
    pub longest_sum: usize,
    /// Whether runs with inputs of the same shapes cost the same.
    pub cost_follows_shapes: bool,
}

/// Operators that do the same work on any values in inputs of the same shapes, and give outputs of
/// the same shapes. Left out on purpose: subgraphs, what makes a shape of values, recurrent ones
/// (lengths are values), trees (how deep a path goes is a matter of values), and text.
const BY_SHAPES: &[&str] = &[
    "Abs",
    "Acos",
    "Acosh",
    "Add",
    "And",
    "ArgMax",
    "ArgMin",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "AveragePool",
    "BatchNormalization",
    "BitShift",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "Cast",
    "CastLike",
    "Ceil",
    "Celu",
    "Clip",
    "Concat",
    "Constant",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "Cos",
    "Cosh",
    "CumSum",
    "DepthToSpace",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "DynamicQuantizeLinear",
    "Einsum",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Flatten",
    "Floor",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalLpPool",
    "GlobalMaxPool",
    "Greater",
    "GreaterOrEqual",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Hardmax",
    "Identity",
    "InstanceNormalization",
    "IsInf",
    "IsNaN",
    "LRN",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "LpPool",
    "MatMul",
    "MatMulInteger",
    "Max",
    "MaxPool",
    "Mean",
    "MeanVarianceNormalization",
    "Min",
    "Mish",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "PRelu",
    "Pow",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
    "RMSNormalization",
    "Reciprocal",
    "Relu",
    "Round",
    "ScatterElements",
    "ScatterND",
    "Selu",
    "Shape",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Size",
    "Softmax",
    "Softplus",
    "Softsign",
    "SpaceToDepth",
    "Sqrt",
    "Sub",
    "Sum",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
    "Transpose",
    "Trilu",
    "Where",
    "Xor",
];

/// Operators of which the same is true if their inputs after the first are known beforehand.
const BY_SHAPE_OF_FIRST: &[&str] = &[
    "Expand",
    "Pad",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "TopK",
    "Unsqueeze",
];

/// Operators of which the same is true if all their inputs are known beforehand.
const BY_KNOWN_VALUES: &[&str] = &["ConstantOfShape", "Range"];

/// Operators of `ai.onnx.ml` that do the same work on any values in inputs of the same shapes.
const CLASSIC_BY_SHAPES: &[&str] = &[
    "ArrayFeatureExtractor",
    "Binarizer",
    "FeatureVectorizer",
    "Imputer",
    "LinearClassifier",
    "LinearRegressor",
    "Normalizer",
    "SVMClassifier",
    "SVMRegressor",
    "Scaler",
];

/// The operators whose chains are sums and products.
const ASSOCIATIVE: [&str; 2] = ["Add", "Mul"];

/// Operators that an optimizer may take out, if they change nothing, and so join the sums or
/// products on their two sides.
const REMOVABLE: &[&str] = &["Add", "Cast", "Div", "Dropout", "Identity", "Mul", "Sub"];

/// What is found out about an operator, from those that it needs.
#[derive(Clone, Copy)]
struct Place {
    chain: usize,
    /// Terms or factors, by [`ASSOCIATIVE`].
    sums: [usize; 2],
    /// Whether the outputs are the same whatever values a call gives in inputs of the same shapes.
    known: bool,
}

impl<'a> Flow<'a> {
    /// The names that the graph uses and does not define: as a subgraph, it captures them.
    pub fn captures(&self) -> Vec<&'a str> {
        let operators = &self.operators;
        let defined: HashSet<&str> = operators
            .iter()
            .flat_map(|operator| &operator.outputs)
            .chain(&self.inputs)
            .chain(&self.constants)
            .copied()
            .collect();
        let used: HashSet<&'a str> = operators
            .iter()
            .flat_map(|operator| operator.inputs.iter().chain(&operator.captures))
            .chain(&self.outputs)
            .copied()
            .collect();
        used.into_iter().filter(|name| !defined.contains(name)).collect()
    }

    /// Measures the graph: each operator once, after those that it needs.
    pub fn extent(&self) -> Extent {
        let operators = &self.operators;
        // Of several operators that give one value, the last does, as it is in rten.
        let mut sources = HashMap::new();
        for (index, operator) in operators.iter().enumerate() {
            let names = operator.outputs.iter().filter(|name| !name.is_empty());
            sources.extend(names.map(|&name| (name, index)));
        }
        let needs = |operator: &Operator<'a>| -> Vec<usize> {
            operator
                .inputs
                .iter()
                .chain(&operator.captures)
                .filter_map(|name| sources.get(*name).copied())
                .collect()
        };
        let mut consumers = vec![Vec::new(); operators.len()];
        let mut waits_for = vec![0_usize; operators.len()];
        for (index, operator) in operators.iter().enumerate() {
            for need in needs(operator) {
                consumers[need].push(index);
                waits_for[index] += 1;
            }
        }
        let mut ready: Vec<usize> = (0..operators.len()).filter(|&index| waits_for[index] == 0).collect();
        let mut places: Vec<Option<Place>> = vec![None; operators.len()];
        let mut extent = Extent { longest_chain: 0, longest_sum: 1, cost_follows_shapes: true };
        while let Some(index) = ready.pop() {
            let operator = &operators[index];
            let place_of = |name: &&str| sources.get(*name).and_then(|&source| places[source]);
            let known = |name: &&str| {
                name.is_empty()
                    || place_of(name).map_or_else(|| self.constants.contains(*name), |place| place.known)
            };
            let follows = operator.cost_follows_shapes(known);
            let place = Place {
                chain: needs(operator)
                    .into_iter()
                    .filter_map(|need| Some(places[need]?.chain))
                    .max()
                    .unwrap_or(0)
                    .saturating_add(1 + operator.inside),
                sums: [0, 1]
                    .map(|of| operator.sum(of, |name| place_of(name).map_or(1, |place| place.sums[of]))),
                known: follows && operator.gives_known_values(known),
            };
            extent.longest_chain = extent.longest_chain.max(place.chain);
            extent.longest_sum = place.sums.into_iter().fold(extent.longest_sum, usize::max);
            extent.cost_follows_shapes &= follows;
            places[index] = Some(place);
            for &consumer in &consumers[index] {
                waits_for[consumer] -= 1;
                if waits_for[consumer] == 0 {
                    ready.push(consumer);
                }
            }
        }
        // What is left waits for itself, which a backend finds out by going all the way round.
        for (operator, _) in operators.iter().zip(&places).filter(|(_, place)| place.is_none()) {
            extent.longest_chain = extent.longest_chain.saturating_add(1 + operator.inside);
            extent.cost_follows_shapes = false;
        }
        extent
    }
}

impl Operator<'_> {
    fn cost_follows_shapes(&self, known: impl Fn(&&str) -> bool) -> bool {
        if self.inside > 0 {
            return false;
        }
        match self.kind {
            Some(Kind::Tensors(name)) => {
                BY_SHAPES.contains(&name)
                    || BY_SHAPE_OF_FIRST.contains(&name) && self.inputs.iter().skip(1).all(&known)
                    || BY_KNOWN_VALUES.contains(&name) && self.inputs.iter().all(&known)
            }
            Some(Kind::Classic(name)) => CLASSIC_BY_SHAPES.contains(&name),
            None => false,
        }
    }

    fn gives_known_values(&self, known: impl Fn(&&str) -> bool) -> bool {
        match self.kind {
            // A shape follows from shapes, whatever it is the shape of.
            Some(Kind::Tensors("Shape" | "Size")) => true,
            // In training mode it draws at random.
            Some(Kind::Tensors("Dropout")) => false,
            _ => self.inputs.iter().all(known),
        }
    }

    /// Terms (`of` 0) or factors (1) of the outputs, of which each input has `count`.
    fn sum(&self, of: usize, count: impl Fn(&&str) -> usize) -> usize {
        match self.kind {
            Some(Kind::Tensors(name)) if name == ASSOCIATIVE[of] => {
                self.inputs.iter().map(count).fold(0, usize::saturating_add).max(1)
            }
            Some(Kind::Tensors(name)) if REMOVABLE.contains(&name) => {
                self.inputs.iter().map(count).max().unwrap_or(1)
            }
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator<'a>(kind: &'a str, inputs: &[&'a str], output: &'a str) -> Operator<'a> {
        Operator {
            kind: Some(Kind::Tensors(kind)),
            inputs: inputs.to_vec(),
            outputs: vec![output],
            captures: Vec::new(),
            inside: 0,
        }
    }

    fn extent(operators: Vec<Operator<'_>>) -> Extent {
        Flow { operators, constants: ["constant"].into(), ..Flow::default() }.extent()
    }

    #[test]
    fn the_longest_chain_is_found_in_any_order() {
        let names: Vec<String> = (0..=10_000).map(|i| format!("v{i}")).collect();
        let mut chain: Vec<_> = names.windows(2).map(|pair| operator("Neg", &[&pair[0]], &pair[1])).collect();
        chain.push(operator("Neg", &["v3"], "short"));
        chain.reverse();
        assert_eq!(extent(chain).longest_chain, 10_000);
        let side_by_side = (0..100).map(|i| operator("Neg", &["x"], &names[i])).collect();
        assert_eq!(extent(side_by_side).longest_chain, 1);
    }

    #[test]
    fn subgraphs_and_what_they_capture_are_part_of_a_chain() {
        let branch = Operator { captures: vec!["a"], inside: 7, ..operator("If", &["c"], "b") };
        let found = extent(vec![operator("Neg", &["b"], "y"), branch, operator("Neg", &["x"], "a")]);
        assert_eq!(found.longest_chain, 1 + 8 + 1);
        let body = Flow {
            operators: vec![operator("Add", &["i", "outer"], "t"), operator("Add", &["t", "w"], "u")],
            constants: ["w"].into(),
            inputs: vec!["i"],
            outputs: vec!["u", "other"],
        };
        let mut captures = body.captures();
        captures.sort_unstable();
        assert_eq!(captures, ["other", "outer"]);
    }

    #[test]
    fn a_cycle_counts_in_full() {
        let cycle =
            vec![operator("Neg", &["c"], "a"), operator("Neg", &["a"], "b"), operator("Neg", &["b"], "c")];
        assert_eq!(extent(cycle).longest_chain, 3);
    }

    #[test]
    fn sums_of_sums_are_written_out() {
        let names: Vec<String> = (0..=70).map(|i| format!("v{i}")).collect();
        let doubled = |between: &'static str| {
            names
                .windows(2)
                .enumerate()
                .map(|(i, pair)| match i % 2 {
                    0 => operator("Mul", &[&pair[0], &pair[0]], &pair[1]),
                    _ => operator(between, &[&pair[0]], &pair[1]),
                })
                .collect()
        };
        assert_eq!(extent(doubled("Identity")).longest_sum, 1 << 35);
        assert_eq!(extent(doubled("Tanh")).longest_sum, 2, "a function keeps products apart");
        let all = names.windows(2).map(|pair| operator("Add", &[&pair[0], &pair[0]], &pair[1])).collect();
        assert_eq!(extent(all).longest_sum, usize::MAX, "and no more than can be counted");
    }

    #[test]
    fn shapes_made_of_shapes_follow_them_and_shapes_made_of_values_do_not() {
        let reshaped = |shape: Operator<'static>| {
            extent(vec![shape, operator("Reshape", &["x", "s"], "y"), operator("MatMul", &["y", "y"], "z")])
                .cost_follows_shapes
        };
        assert!(reshaped(operator("Shape", &["x"], "s")));
        assert!(reshaped(operator("Identity", &["constant"], "s")));
        assert!(!reshaped(operator("Identity", &["x"], "s")));
        assert!(!reshaped(operator("Dropout", &["constant"], "s")));
    }
}
