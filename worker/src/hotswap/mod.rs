//! New weights without a restart: a pure plan ([`plan`]), the check of what was pushed ([`push`]), the table that requests read
//! ([`table`]) and the task that performs the plan ([`driver`]). An old version is never taken away for one that does not serve.
pub mod driver;
pub mod loader;
pub mod plan;
#[cfg(test)]
mod plan_tests;
pub mod push;
pub mod report;
pub mod table;
