//! What crosses rooms, with the real parts: `tidegate up`, its Postgres, Envoy, its workers and their models.
mod bad_input;
mod canary_gone;
mod docs_walk;
mod doors;
mod envoy_gateway;
mod explain_matches_envoy;
mod faults;
mod limits;
mod openai_client;
mod outage;
mod policy_storm;
mod state_of_the_world;
mod status_at_scale;
mod status_is_true;
mod swap;
mod telemetry;
mod two_doors;
