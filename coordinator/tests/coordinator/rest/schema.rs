//! As much of JSON Schema as the document uses: whether a value is what a schema says, values that are, and values that are not.

use serde_json::{Map, Value, json};

/// A schema of the document.
#[derive(Clone, Copy)]
pub struct Schema<'a> {
    document: &'a Value,
    schema: &'a Value,
}

impl<'a> Schema<'a> {
    pub fn new(document: &'a Value, schema: &'a Value) -> Self {
        let resolved = resolve(document, schema);
        Self { document, schema: resolved }
    }

    fn of(self, schema: &'a Value) -> Self {
        Self::new(self.document, schema)
    }

    fn types(self) -> Vec<&'a str> {
        match &self.schema["type"] {
            Value::String(one) => vec![one.as_str()],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether any text will do.
    pub fn takes_text(self) -> bool {
        let is_list = self.types() == ["array"];
        let one = if is_list { self.of(&self.schema["items"]) } else { self };
        one.types().contains(&"string") && ["pattern", "enum"].iter().all(|bound| one.schema.get(bound).is_none())
    }

    /// What is wrong with a value.
    pub fn fault(self, value: &Value, at: &str) -> Option<String> {
        if let Some(several) = self.schema["anyOf"].as_array() {
            let faults: Vec<String> = several.iter().map_while(|one| self.of(one).fault(value, at)).collect();
            return (faults.len() == several.len()).then(|| faults.join(" and "));
        }
        let types = self.types();
        if !types.is_empty() && !types.iter().any(|name| is_of(value, name)) {
            return Some(format!("{at}: {value} is no {types:?}"));
        }
        if let (Some(words), false) = (self.schema["enum"].as_array(), value.is_null())
            && !words.contains(value)
        {
            return Some(format!("{at}: {value} is none of {words:?}"));
        }
        match value {
            Value::Object(fields) => self.object_fault(fields, at),
            Value::Array(items) => {
                let most = self.schema["maxItems"].as_u64().unwrap_or(u64::MAX);
                if items.len() as u64 > most {
                    return Some(format!("{at}: {} items", items.len()));
                }
                let item = self.of(self.schema.get("items")?);
                items.iter().enumerate().find_map(|(i, value)| item.fault(value, &format!("{at}[{i}]")))
            }
            Value::Number(number) => {
                let number = number.as_f64()?;
                let low = self.schema["minimum"].as_f64().unwrap_or(f64::MIN);
                let high = self.schema["maximum"].as_f64().unwrap_or(f64::MAX);
                (!(low..=high).contains(&number)).then(|| format!("{at}: {number} is out of range"))
            }
            _ => None,
        }
    }

    fn object_fault(self, fields: &Map<String, Value>, at: &str) -> Option<String> {
        for name in self.schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                return Some(format!("{at}: `{name}` is missing"));
            }
        }
        if self.schema["maxProperties"].as_u64().is_some_and(|most| fields.len() as u64 > most) {
            return Some(format!("{at}: too many fields"));
        }
        fields.iter().find_map(|(name, value)| {
            let at = format!("{at}.{name}");
            match (self.schema["properties"].get(name), &self.schema["additionalProperties"]) {
                (Some(schema), _) => self.of(schema).fault(value, &at),
                (None, Value::Bool(false)) => Some(format!("{at} is not in the document")),
                (None, Value::Null | Value::Bool(_)) => None,
                (None, schema) => self.of(schema).fault(value, &at),
            }
        })
    }

    /// A value that fits: with all fields, or with none that may be left out.
    pub fn example(self, full: bool) -> Value {
        if let Some(first) = self.schema["anyOf"].as_array().and_then(|several| several.first()) {
            return self.of(first).example(full);
        }
        if let Some(words) = self.schema["enum"].as_array() {
            return words[0].clone();
        }
        let low = self.schema["minimum"].as_f64().unwrap_or(0.0).max(1.0);
        match self.types().first().copied() {
            Some("string") => self.text(),
            Some("integer") => json!(low as u64),
            Some("number") => json!(low + 0.5),
            Some("boolean") => json!(true),
            Some("array") if full || self.schema["minItems"].as_u64().is_some() => {
                json!([self.of(&self.schema["items"]).example(full)])
            }
            Some("array") => json!([]),
            Some("object") => self.object(full),
            other => panic!("no example of {other:?}: {}", self.schema),
        }
    }

    fn text(self) -> Value {
        match self.schema["pattern"].as_str() {
            None => json!("abc"),
            Some(pattern) if pattern.starts_with("^[0-9]{1,") => json!("7"),
            Some(pattern) if pattern.starts_with("^(?:[A-Za-z0-9+/]{4})") => json!("YWJj"),
            Some(pattern) if pattern.starts_with("^[A-Za-z0-9._:/-]") => json!("abc"),
            Some(pattern) if pattern.starts_with("^[0-9a-f]{8}-") => json!("01890000-0000-7000-8000-000000000000"),
            Some(other) => panic!("no example of {other}"),
        }
    }

    fn object(self, full: bool) -> Value {
        let most = self.schema["maxProperties"].as_u64().unwrap_or(u64::MAX) as usize;
        let mut object = Map::new();
        let either = self.schema["not"]["anyOf"].as_array().into_iter().flatten();
        let second: Vec<&Value> = either.filter_map(|both| both["required"].get(1)).collect();
        for (name, schema) in self.schema["properties"].as_object().into_iter().flatten() {
            let wanted = full && object.len() < most && !second.iter().any(|other| *other == name);
            if wanted || self.of(schema).schema["minItems"].as_u64().is_some() {
                object.insert(name.clone(), self.of(schema).example(full));
            }
        }
        if let (true, Some(schema)) = (full, self.schema.get("additionalProperties").filter(|more| more.is_object())) {
            object.insert("abc".into(), self.of(schema).example(full));
        }
        Value::Object(object)
    }

    /// Values that do not fit, each with what is wrong with it; they differ from `example(true)` in one place.
    pub fn wrong(self) -> Vec<(String, Value)> {
        if let Some(first) = self.schema["anyOf"].as_array().and_then(|several| several.first()) {
            let wrong = self.of(first).wrong().into_iter();
            return wrong.filter(|(_, value)| self.fault(value, "").is_some()).collect();
        }
        let mut wrong: Vec<(String, Value)> = Vec::new();
        let mut add = |what: &str, value: Value| wrong.push((what.to_owned(), value));
        for (name, value) in [
            ("text", json!("a text that nobody waits for")),
            ("a number", json!(1.5)),
            ("true", json!(true)),
            ("a list", json!([{}])),
            ("an object", json!({ "a-field-that-nobody-knows": 1 })),
            ("null", json!(null)),
        ] {
            if self.fault(&value, "").is_some() {
                add(name, value);
            }
        }
        if let Some(high) = self.schema["maximum"].as_u64() {
            add("a number above", if high == u64::MAX { json!(1e20) } else { json!(high + 1) });
        }
        if let Some(low) = self.schema["minimum"].as_i64() {
            add("a number below", low.checked_sub(1).map_or(json!(-1e20), |below| json!(below)));
        }
        let example = self.example(true);
        if let (Some(items), Some(first)) = (example.as_array(), self.schema.get("items")) {
            let mut inner = self.of(first).wrong();
            inner.retain(|_| !items.is_empty());
            wrong.extend(inner.into_iter().map(|(what, value)| (format!("[0] = {what}"), json!([value]))));
        }
        if let Some(fields) = example.as_object() {
            for (name, _) in fields {
                let Some(schema) = self.schema["properties"].get(name) else { continue };
                for (what, value) in self.of(schema).wrong() {
                    let mut other = fields.clone();
                    other.insert(name.clone(), value);
                    wrong.push((format!(".{name} = {what}"), Value::Object(other)));
                }
            }
        }
        wrong
    }
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(path) => resolve(document, document.pointer(path.trim_start_matches('#')).expect("what is referred to")),
        None => schema,
    }
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("there is no type {other}"),
    }
}
