//! What a model gave.

use crate::error::Error;
use crate::tensor::Tensor;

/// Tensors by the names of a model's outputs, in the order in which they were asked for or, if all
/// were, in the model's.
#[derive(Debug)]
pub struct Outputs(Vec<(String, Tensor)>);

impl Outputs {
    /// The output of this name.
    ///
    /// # Errors
    /// [`Error::InvalidInput`], with the names that there are.
    pub fn get(&self, name: &str) -> Result<&Tensor, Error> {
        self.position(name).map(|index| &self.0[index].1)
    }

    /// Takes the output of this name out.
    ///
    /// # Errors
    /// As for [`Outputs::get`].
    pub fn take(&mut self, name: &str) -> Result<Tensor, Error> {
        self.position(name).map(|index| self.0.remove(index).1)
    }

    /// The output at this place.
    ///
    /// # Errors
    /// [`Error::InvalidInput`], with the number that there are.
    pub fn at(&self, index: usize) -> Result<&Tensor, Error> {
        let outputs = &self.0;
        outputs.get(index).map(|(_, tensor)| tensor).ok_or_else(|| {
            Error::InvalidInput(format!("there is no output {index}; the model gave {}", outputs.len()))
        })
    }

    /// The only output, whatever its name.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if there is not exactly one.
    pub fn into_one(mut self) -> Result<Tensor, Error> {
        match (self.0.pop(), self.0.is_empty()) {
            (Some((_, tensor)), true) => Ok(tensor),
            (last, _) => {
                self.0.extend(last);
                Err(Error::InvalidInput(format!("one output was expected; {}", self.names())))
            }
        }
    }

    /// Names and tensors in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The number of outputs.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no outputs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn position(&self, name: &str) -> Result<usize, Error> {
        self.0
            .iter()
            .position(|(own, _)| own == name)
            .ok_or_else(|| Error::InvalidInput(format!("there is no output `{name}`; {}", self.names())))
    }

    fn names(&self) -> String {
        let names: Vec<String> = self.0.iter().map(|(name, _)| format!("`{name}`")).collect();
        format!("the model gave [{}]", names.join(", "))
    }
}

impl IntoIterator for Outputs {
    type Item = (String, Tensor);
    type IntoIter = std::vec::IntoIter<(String, Tensor)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<N: Into<String>, const COUNT: usize> From<[(N, Tensor); COUNT]> for Outputs {
    fn from(outputs: [(N, Tensor); COUNT]) -> Self {
        outputs.into_iter().collect()
    }
}

impl<N: Into<String>> FromIterator<(N, Tensor)> for Outputs {
    fn from_iter<I: IntoIterator<Item = (N, Tensor)>>(outputs: I) -> Self {
        Self(outputs.into_iter().map(|(name, tensor)| (name.into(), tensor)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs() -> Outputs {
        let scalar = |x: f32| Tensor::new([], [x]).unwrap();
        Outputs::from([("label", scalar(1.0)), ("score", scalar(2.0))])
    }

    #[test]
    fn found_by_name_and_by_place() {
        let mut outputs = outputs();
        assert_eq!(outputs.get("score").unwrap().to_scalar::<f32>(), Ok(2.0));
        assert_eq!(outputs.at(0).unwrap().to_scalar::<f32>(), Ok(1.0));
        assert_eq!(outputs.take("label").unwrap().to_scalar::<f32>(), Ok(1.0));
        assert_eq!(outputs.into_one().unwrap().to_scalar::<f32>(), Ok(2.0));
    }

    #[test]
    fn names_what_there_is() {
        let message = "there is no output `scores`; the model gave [`label`, `score`]";
        assert_eq!(outputs().get("scores").unwrap_err(), Error::InvalidInput(message.into()));
        let message = outputs().into_one().unwrap_err().to_string();
        assert_eq!(message, "one output was expected; the model gave [`label`, `score`]");
        assert_eq!(outputs().at(2).unwrap_err().to_string(), "there is no output 2; the model gave 2");
    }
}
