//! Calls that a service of a test does not have.

/// Methods of a service that answer UNIMPLEMENTED. The names that it uses are those of whoever calls it.
macro_rules! absent {
    ($($name:ident($request:ty) -> $response:ty),+ $(,)?) => {
        $(
            fn $name<'a, 'b>(
                &'a self,
                _request: Request<$request>,
            ) -> std::pin::Pin<Box<dyn Future<Output = Answer<$response>> + Send + 'b>>
            where
                'a: 'b,
                Self: 'b,
            {
                Box::pin(async { Err(Status::unimplemented(stringify!($name))) })
            }
        )+
    };
}

pub(crate) use absent;
