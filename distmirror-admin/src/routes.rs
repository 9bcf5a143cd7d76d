//! A routing table that also knows what to say in `Allow`.

use std::collections::BTreeMap;

use poem::{
    Endpoint, EndpointExt, IntoEndpoint, IntoResponse, Request, Route, RouteMethod,
    endpoint::{BoxEndpoint, make_sync},
    http::{HeaderValue, Method, header},
};

/// Paths, each with the methods that it takes.
#[derive(Default)]
pub(crate) struct Routes(BTreeMap<String, Vec<(Method, BoxEndpoint<'static>)>>);

impl Routes {
    /// Answers GET (and so HEAD) at this path.
    pub(crate) fn get<E: IntoEndpoint<Endpoint: 'static>>(self, path: &str, endpoint: E) -> Self {
        self.method(Method::GET, path, endpoint)
    }

    /// Answers POST at this path.
    pub(crate) fn post<E: IntoEndpoint<Endpoint: 'static>>(self, path: &str, endpoint: E) -> Self {
        self.method(Method::POST, path, endpoint)
    }

    /// Everything in one route, with a service of its own below `prefix`, of which the full paths are given.
    pub(crate) fn build<E: IntoEndpoint<Endpoint: 'static>>(
        self,
        prefix: &str,
        service: E,
        paths: impl Iterator<Item = (String, Vec<Method>)>,
    ) -> (Route, Allowed) {
        let (mut route, mut allowed) = (Route::new(), Route::new());
        for (path, methods) in paths {
            allowed = allowed.at(path, allow(methods.iter()));
        }
        for (path, endpoints) in self.0 {
            allowed = allowed.at(&path, allow(endpoints.iter().map(|(method, _)| method)));
            let methods = endpoints
                .into_iter()
                .fold(RouteMethod::new(), |methods, (method, endpoint)| methods.method(method, endpoint));
            route = route.at(path, methods);
        }
        (route.nest(prefix, service), Allowed(allowed))
    }

    fn method<E: IntoEndpoint<Endpoint: 'static>>(mut self, method: Method, path: &str, endpoint: E) -> Self {
        let endpoint = endpoint.map_to_response().boxed();
        self.0.entry(path.to_owned()).or_default().push((method, endpoint));
        self
    }
}

/// Which methods each path takes.
pub(crate) struct Allowed(Route);

impl Allowed {
    /// The value of `Allow` for this path, if there is anything at it.
    pub(crate) async fn at(&self, path: &str) -> Option<HeaderValue> {
        let request = Request::builder().uri(path.parse().ok()?).finish();
        self.0.call(request).await.ok()?.headers().get(header::ALLOW).cloned()
    }
}

/// An endpoint that only says what it would take.
fn allow<'a>(methods: impl Iterator<Item = &'a Method>) -> BoxEndpoint<'static> {
    let mut names: Vec<&str> = methods.map(Method::as_str).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    let names = names.join(", ");
    make_sync(move |_| ().with_header(header::ALLOW, names.clone())).map_to_response().boxed()
}
