//! The located tree into types, past what is wrong: one fault is noted, taken out of view, and the rest is read again.

mod fault;

use serde::de::value::StrDeserializer;
use serde::de::{self, Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

use super::node::{Entry, Node, Scalar, Value};
use super::problem::Problem;
use fault::Fault;

/// Reads a value from the tree; what was wrong is out of view afterwards. No value when the whole is at fault.
pub fn read<T: DeserializeOwned>(root: &Node) -> (Option<T>, Vec<Problem>) {
    let mut problems = Vec::new();
    loop {
        match T::deserialize(Reader(root)) {
            Ok(value) => return (Some(value), problems),
            Err(fault) => problems.extend(fault.blame(root, root).into_problem()),
        }
        if root.dropped() {
            return (None, problems);
        }
    }
}

#[derive(Clone, Copy)]
struct Reader<'de>(&'de Node);

impl<'de> Reader<'de> {
    fn scalar(self) -> Option<&'de Scalar> {
        self.0.scalar()
    }

    fn is_null(self) -> bool {
        self.scalar().is_some_and(Scalar::is_null)
    }

    fn entries<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(Entries { node: self.0, next: 0, value: None })
    }

    fn items<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(Items { node: self.0, next: 0 })
    }

    /// What the value looks like by itself.
    fn natural<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.value {
            Value::Scalar(scalar) => Text(scalar).deserialize_any(visitor),
            Value::List(_) => self.items(visitor),
            Value::Map(_) => self.entries(visitor),
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.natural(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.scalar() {
            Some(scalar) => Text(scalar).deserialize_str(visitor),
            None => self.natural(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.is_null() { self.items(visitor) } else { self.natural(visitor) }
    }

    /// A heading with nothing below it is an empty block.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.is_null() { self.entries(visitor) } else { self.natural(visitor) }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if let Some(scalar) = self.scalar() {
            let name: StrDeserializer<'_, Fault> = scalar.text.as_str().into_deserializer();
            return visitor.visit_enum(name);
        }
        let mut entries = self.0.entries();
        match (entries.next(), entries.next()) {
            (Some(entry), None) => visitor.visit_enum(Kind { node: self.0, entry }),
            _ => Err(de::Error::custom(format_args!("takes exactly one of these keys: {}", variants.join(", ")))),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        identifier ignored_any
    }
}

/// A scalar, or a key.
struct Text<'de>(&'de Scalar);

impl<'de> Deserializer<'de> for Text<'de> {
    type Error = Fault;

    /// By the core schema of YAML 1.2; what is quoted is text.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let text = self.0.text.as_str();
        if self.0.is_null() {
            return visitor.visit_unit();
        }
        if !self.0.is_bare() {
            return visitor.visit_borrowed_str(text);
        }
        match text {
            "true" | "True" | "TRUE" => return visitor.visit_bool(true),
            "false" | "False" | "FALSE" => return visitor.visit_bool(false),
            _ => {}
        }
        if let Ok(number) = text.parse::<u64>() {
            visitor.visit_u64(number)
        } else if let Ok(number) = text.parse::<i64>() {
            visitor.visit_i64(number)
        } else if let Some(number) = decimal(text) {
            visitor.visit_f64(number)
        } else {
            visitor.visit_borrowed_str(text)
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.0.is_null() { visitor.visit_unit() } else { visitor.visit_borrowed_str(&self.0.text) }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_borrowed_str(&self.0.text)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let name: StrDeserializer<'_, Fault> = self.0.text.as_str().into_deserializer();
        visitor.visit_enum(name)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map struct ignored_any
    }
}

/// A number with a point or an exponent; words such as `inf`, which Rust reads as numbers, are text.
fn decimal(text: &str) -> Option<f64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    if digits { text.parse().ok() } else { None }
}

struct Entries<'de> {
    node: &'de Node,
    next: usize,
    value: Option<&'de Entry>,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let mut entries = self.node.all_entries().iter().enumerate().skip(self.next);
        let Some((index, entry)) = entries.find(|(_, entry)| !entry.node.dropped()) else { return Ok(None) };
        self.next = index + 1;
        self.value = Some(entry);
        let key = seed.deserialize(Text(&entry.key));
        key.map(Some).map_err(|fault| fault.at(entry.mark).blame(&entry.node, &entry.node).within(&entry.key.text))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let entry = self.value.take().ok_or_else(|| <Fault as de::Error>::custom("a value was asked for before its key"))?;
        let value = seed.deserialize(Reader(&entry.node));
        value.map_err(|fault| fault.at(entry.place()).blame(&entry.node, &entry.node).within(&entry.key.text))
    }
}

struct Items<'de> {
    node: &'de Node,
    next: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Value::List(items) = &self.node.value else { return Ok(None) };
        let Some((index, item)) = items.iter().enumerate().skip(self.next).find(|(_, item)| !item.dropped()) else {
            return Ok(None);
        };
        self.next = index + 1;
        let value = seed.deserialize(Reader(item));
        value.map(Some).map_err(|fault| fault.blame(item, item).within(&index.to_string()))
    }
}

/// A block whose one key says what kind it is: what is wrong with the kind is wrong with the block.
struct Kind<'de> {
    node: &'de Node,
    entry: &'de Entry,
}

impl<'de> de::EnumAccess<'de> for Kind<'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        match seed.deserialize(Text(&self.entry.key)) {
            Ok(kind) => Ok((kind, self)),
            Err(fault) => Err(fault.at(self.entry.mark).blame(self.node, self.node)),
        }
    }
}

impl<'de> Kind<'de> {
    fn blamed<T>(&self, result: Result<T, Fault>) -> Result<T, Fault> {
        result.map_err(|fault| fault.at(self.entry.place()).blame(&self.entry.node, self.node).within(&self.entry.key.text))
    }
}

impl<'de> de::VariantAccess<'de> for Kind<'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        let nothing = <()>::deserialize(Reader(&self.entry.node));
        self.blamed(nothing)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        let value = seed.deserialize(Reader(&self.entry.node));
        self.blamed(value)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        let value = Reader(&self.entry.node).deserialize_seq(visitor);
        self.blamed(value)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        let value = Reader(&self.entry.node).deserialize_map(visitor);
        self.blamed(value)
    }
}

#[cfg(test)]
mod tests;
